"""A small classifier learns the scores of a large one."""
