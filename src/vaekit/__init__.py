"""vaekit: train, understand, evaluate, compare and use variational autoencoders."""

__version__ = "0.1.0"
