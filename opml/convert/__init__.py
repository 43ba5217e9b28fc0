"""Models of other forms → ONNX files."""
