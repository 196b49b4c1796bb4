"""What follows from stored numbers: spectra, comparisons, nulls, skip weights, overwriting."""
