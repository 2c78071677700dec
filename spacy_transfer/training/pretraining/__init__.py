"""Masked language modeling on raw texts."""
