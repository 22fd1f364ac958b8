"""A model for other tools: float ONNX, integer ONNX, C99; installs as ``edge_lstm.export``."""
