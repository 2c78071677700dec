"""Exporting trained pipelines: to ONNX Runtime, to Hugging Face, with fewer layers."""
