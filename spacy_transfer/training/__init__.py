"""Training: optimizer, loop, checkpoints, search."""
