"""Encoders as files: found, fetched, checked and read, before any network is built. Knows no network."""
