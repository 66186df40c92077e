"""Network definitions in PyTorch, for training and export only."""
