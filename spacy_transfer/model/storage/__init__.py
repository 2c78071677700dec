"""Saving and loading weights and files."""
