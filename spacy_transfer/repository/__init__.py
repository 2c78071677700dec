"""Encoders as files: find, fetch, check and read them before any network is built."""
