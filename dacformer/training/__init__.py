"""The loop, and the checkpoints it leaves."""

from dacformer.training.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from dacformer.training.loop import train
from dacformer.training.metrics import read_metrics

__all__ = ["Checkpoint", "find_checkpoint", "load_checkpoint", "read_metrics", "train"]
