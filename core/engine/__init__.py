"""Runs a network and optimises FZs: folded weights, cones, Fourier parameters, transforms, the optimiser."""
