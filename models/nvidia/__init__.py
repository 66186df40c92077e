"""TensorRT and CUDA: engines built, keyed, kept and run on an NVIDIA GPU."""
