"""Networks as others have published them, read into our own definitions."""

from export.checkpoints.generator import GeneratorCheckpoint, load_generator

__all__ = ["GeneratorCheckpoint", "load_generator"]
