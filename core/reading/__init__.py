"""What is read of a network besides FZs: activations, scans, responses to altered images, ablations."""
