"""What spaCy sees: the components and their factories. Imports neither torch nor transformers."""
