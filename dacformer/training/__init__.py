"""The training loop: trainer, optimizer, metrics."""
