"""Both faces: the command line and the app."""
