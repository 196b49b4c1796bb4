"""Analyses of stored channels: pure functions of frames and arrays. Never imports torch."""
