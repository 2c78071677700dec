"""Texts without labels, and what the labels mean: a classifier to begin with, and which texts to annotate first."""
