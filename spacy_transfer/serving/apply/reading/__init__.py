"""Rows of the sources, with their places, in blocks."""
