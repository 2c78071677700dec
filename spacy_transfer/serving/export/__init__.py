"""A pipeline in the form of other libraries."""
