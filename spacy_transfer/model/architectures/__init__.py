"""The Thinc models that configs name."""
