"""What spaCy sees: the component and its factories. Imports neither torch nor transformers."""
