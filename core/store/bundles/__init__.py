"""Bundles: a part of a store in one zip file, to be handed on and opened read only. Never imports torch."""
