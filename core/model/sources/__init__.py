"""Where a network comes from: torchvision, timm, this package, or one's own code. Importing this imports no torch."""
