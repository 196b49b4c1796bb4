"""How the channel table is arranged and worded, what of it is selected, and the session to show again."""
