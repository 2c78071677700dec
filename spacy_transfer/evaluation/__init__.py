"""Evaluation of trained pipelines."""
