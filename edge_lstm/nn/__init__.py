"""PyTorch: cells whose forward pass computes the runtime's integers, with straight-through gradients."""
