"""Classifiers of other libraries as pipelines."""
