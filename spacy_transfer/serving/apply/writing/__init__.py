"""Rows with their new columns, as bytes."""
