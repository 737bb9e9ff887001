"""The loop, and the checkpoints it leaves."""

from dacformer.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from dacformer.training.metrics import read_metrics
from dacformer.training.trainer import train

__all__ = ["Checkpoint", "find_checkpoint", "load_checkpoint", "read_metrics", "train"]
