"""Looking inside data and pipelines: the report, wrong labels."""
