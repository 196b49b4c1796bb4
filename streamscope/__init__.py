"""See what every channel of a ResNet's residual stream does, from the terminal."""

__version__ = "0.2.0"
