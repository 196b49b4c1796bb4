"""The random transforms that an FZ is optimised under, and their geometry."""
