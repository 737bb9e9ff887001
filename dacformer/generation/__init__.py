"""From a checkpoint to sound: controls, sampling, streams, takes."""
