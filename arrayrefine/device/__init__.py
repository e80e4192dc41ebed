"""The evaluation on a CUDA device: where to compute, memory, and the objective in one graph."""
