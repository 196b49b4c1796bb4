"""How quick the app is: its start, from a key to what is painted, and over slow lines."""
