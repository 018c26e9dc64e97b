"""Region-of-interest operators with torchvision's signatures."""
