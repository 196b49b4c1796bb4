"""Commands that run the network: compute, scan, curves, nulls, ablate."""
