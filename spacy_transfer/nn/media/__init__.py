"""Pretrained encoders of pictures and sounds, in torch alone."""
