"""The network as a graph of values and equations."""
