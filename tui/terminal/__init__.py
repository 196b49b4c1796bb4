"""Pictures in terminals: what a terminal can draw, and the bytes that make it."""
