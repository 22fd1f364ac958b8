"""ONNX files of strangers to ``FloatGraph``."""
