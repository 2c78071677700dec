"""The report: one page that shows what a pipeline can do, and its data."""
