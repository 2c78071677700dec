"""How far the scores of a pipeline fall where texts are noisy, and what helps."""
