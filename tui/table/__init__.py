"""How the channel table is arranged and worded."""
