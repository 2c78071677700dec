"""States and vectors that need not be computed again, in memory and on disk."""
