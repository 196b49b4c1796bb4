"""Rows of the table as files: CSV, JSON, notes, contact sheets."""
