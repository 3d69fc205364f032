"""ONNX import, passes and the reference interpreter."""
