"""A model's weights and files, whole."""
