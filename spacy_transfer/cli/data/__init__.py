"""Commands that make, check and change data."""
