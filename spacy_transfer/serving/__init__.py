"""How a pipeline leaves home."""
