"""Models of strangers in integers: a graph of few kinds of nodes, and its lowering to stages."""

from edge_lstm.integer_graph.model import QuantizedGraph as QuantizedGraph
