"""Teaches trained pipelines more: new texts and labels, and what they are sure of themselves."""
