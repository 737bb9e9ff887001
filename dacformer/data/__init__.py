"""From a folder of sounds to a dataset, and from a dataset to batches."""
