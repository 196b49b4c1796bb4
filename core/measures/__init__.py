"""Numbers from numbers: the mix ratio, the scale criteria, gains, statistics. Neither torch nor disk."""
