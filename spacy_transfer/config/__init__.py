"""Reads a config, applies overrides, and refuses unknown keys before anything is built."""
