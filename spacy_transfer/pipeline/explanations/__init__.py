"""Which words of a text a score comes from."""
