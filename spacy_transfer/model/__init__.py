"""The Thinc side: documents to rows of pieces, micro-batches, and the shim around the torch network."""
