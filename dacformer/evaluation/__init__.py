"""Metrics and reports on what a run does when it runs free."""

from dacformer.evaluation.free_running import FreeRunning

__all__ = ["FreeRunning"]
