"""Training of a codec: `python -m dacformer.codec.train PARAMS`."""
