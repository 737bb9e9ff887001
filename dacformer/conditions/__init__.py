"""From names and values to the vector that the model sees."""
