"""The channel table: its columns, its rows, and the language that filters it."""
