"""Training data: convert records to corpora, and check corpora before training."""
