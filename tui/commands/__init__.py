"""One module a command. Each is thin: it parses, calls the library and prints."""
