"""What `test_distributed.py` starts in each of two CPU processes: a training from its start, and one to be resumed.

Usage: two_processes.py ddp|fsdp2 BEGIN.yaml RESUME.yaml

FSDP2 on a CPU is what PyTorch's `fully_shard` can do, through gloo, but `accelerate` does not offer: its launcher
refuses `--cpu` with `--use_fsdp`, and `AcceleratorState` turns to FSDP only for processes of a kind of accelerator. So
here the processes are said to be of such a kind; all that follows is what happens on one. FSDP1 cannot be had so:
PyTorch raises "FSDP needs a non-CPU accelerator device" (`torch.distributed.fsdp._init_utils`).
"""

import os
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType

from dacformer import load_config
from dacformer.checkpoint import Checkpoint
from dacformer.training.trainer import train

FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "Block",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
}


def play(checkpoint: Checkpoint, run: Path) -> None:
    """Uses the model, as samples do, in one process only."""
    codes = torch.zeros(1, checkpoint.model.num_codebooks, 3, dtype=torch.int64)
    with torch.no_grad():
        logits = checkpoint.model(codes, torch.zeros(1, 1, checkpoint.model.condition_dim))
    torch.save(logits, run / f"sample_{checkpoint.metadata.step}.pt")


if __name__ == "__main__":
    kind, begin, resume = sys.argv[1:]
    if kind == "fsdp2":
        os.environ.update(FSDP)
        PartialState(cpu=True)
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU
    assert PartialState(cpu=True).num_processes == 2
    train(load_config(begin), on_sample=play)
    train(load_config(resume), resume=True, on_sample=play)
