"""Pretrained encoders: built from their folders, cut at any depth, adapted, shared, handed on."""
