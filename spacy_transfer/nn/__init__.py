"""Pure torch: tensors in, tensors out. Knows neither spaCy nor Thinc."""
