"""What a network is: names and weights, blocks and tensors, recipes. What an FZ is."""
