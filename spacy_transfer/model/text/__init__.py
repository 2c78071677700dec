"""From documents to rows of pieces, and from rows to micro-batches."""
