"""Commands that look inside data and pipelines."""
