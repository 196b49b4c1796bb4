"""The app: its frame, what its keys do, its settings and what it remembers."""
