"""Analysis of a ResNet's residual stream. Knows nothing of the terminal; imports torch only where a module says so."""

__version__ = "0.2.0"
