"""Scans of image folders, finished and in the making."""
