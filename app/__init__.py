"""Tradespace: from an ONNX network to a verified bundle."""
