"""Few texts: what is compared, and the choice."""
