"""Texts changed at random: augmentation, typing errors, disguises."""
