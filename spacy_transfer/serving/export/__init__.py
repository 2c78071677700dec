"""A pipeline in the form of other libraries, or with fewer layers."""
