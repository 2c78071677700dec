"""Files of documents through a pipeline: rows in, the same rows with labels out, resumable after any kill."""
