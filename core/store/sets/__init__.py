"""One stored set: batches of FZs, what was measured on them, and which of it a row is read from."""
