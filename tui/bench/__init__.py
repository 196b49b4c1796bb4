"""How quick the app is: its start, and from a key to what is painted."""
