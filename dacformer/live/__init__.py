"""Real-time generation under controls that move while it plays."""
