"""Metrics and reports on what a run does when it runs free."""
