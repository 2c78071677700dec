"""Using and exporting trained pipelines."""
