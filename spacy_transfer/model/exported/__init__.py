"""Classifiers whose network runs on ONNX Runtime. Knows no torch: it need not be installed where they predict."""
