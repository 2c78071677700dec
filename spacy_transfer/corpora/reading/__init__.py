"""What training reads: corpora, batches, rows of pieces, raw texts."""
