"""Models of strangers in float: a graph of few kinds of nodes, and its evaluation in NumPy."""

from edge_lstm.graph.graph import FloatGraph as FloatGraph
