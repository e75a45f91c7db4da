"""What trained methods share: examples, batches, what is trained, the loop, checkpoints."""
