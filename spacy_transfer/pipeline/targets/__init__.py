"""What a classifier classifies: whole documents, their sentences, or the spans of a group."""
