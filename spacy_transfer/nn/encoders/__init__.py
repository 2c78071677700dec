"""Pretrained encoders: load, cut at any depth, adapt, share, export."""
