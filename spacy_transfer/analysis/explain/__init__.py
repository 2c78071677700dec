"""Which words a score comes from, and which training texts are like a text."""
