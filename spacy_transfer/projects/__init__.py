"""From a file of texts to a project that trains its classifier."""
