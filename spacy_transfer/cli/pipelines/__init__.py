"""Commands that take a trained pipeline."""
