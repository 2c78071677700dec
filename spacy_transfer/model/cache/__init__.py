"""States and vectors in memory and on disk, so that they are computed only once."""
