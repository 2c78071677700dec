"""Documents to rows of pieces, rows to micro-batches."""
