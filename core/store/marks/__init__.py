"""A user's marks, tags and notes: journals that no cache command touches."""
