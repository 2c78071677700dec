"""Thinc models as configs name them."""
