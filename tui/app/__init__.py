"""The app: its frame, what its keys do, settings and session."""
