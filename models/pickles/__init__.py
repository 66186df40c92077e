"""Files of pickles, PyTorch's among them, read as data: nothing in them is run."""
