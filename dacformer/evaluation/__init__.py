"""Metrics and reports on what a run does when it runs free."""

from dacformer.evaluation.rollout import RolloutMetric

__all__ = ["RolloutMetric"]
