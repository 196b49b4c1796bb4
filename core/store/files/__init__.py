"""How bytes get to disk and back: atomic writes, checksums, listings, clocks, owners."""
