"""Metrics and reports: how well a trained model follows its controls and resembles its recordings."""
