"""Weights of a network as they lie on disk: read without running code, unwrapped, fitted to torchvision's names.

`reading` is the way in; `docs/models.md` has the table of layouts. Imports torch.
"""
