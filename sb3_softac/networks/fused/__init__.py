"""Networks of plain layers as one node of the autograd graph, with the gradient of each layer written out."""
