"""The command line's frame: entry point, common options, selections, progress."""
