"""From the vector or the states of a text to the logits of its labels."""
