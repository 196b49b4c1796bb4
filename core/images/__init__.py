"""Photographs: which files are images, what a model is shown of them, and how they look when scaled."""
