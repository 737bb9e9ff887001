"""dacformer: a folder of recordings becomes an instrument.

import dacformer

synth = dacformer.load("runs/med")
take = synth.generate(seconds=10, controls={"class": "rain", "density": dacformer.Curve([(0, 0.1), (10, 0.9)])})
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

# Threads that wait for each other soon sleep instead of spinning on: on a machine that is busy with something else, a
# training step or a decoded chunk is several times faster (docs/log.md). A short spin keeps a quiet machine as fast as
# before; only GNU's OpenMP knows it. Both are read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

if TYPE_CHECKING:
    from dacformer.codec import load_codec
    from dacformer.config import load_config
    from dacformer.data.dataset import load_dataset
    from dacformer.errors import UserError
    from dacformer.evaluation.training import train
    from dacformer.generation.controls import Controls
    from dacformer.generation.curves import Curve
    from dacformer.generation.session import Session
    from dacformer.generation.synthesizer import Synthesizer, load
    from dacformer.generation.take import Take
    from dacformer.notebook.player import play

__version__ = "0.2.0"

_HOMES = {
    "load_config": "config",
    "UserError": "errors",
    "load_codec": "codec.codec",
    "load_dataset": "data.dataset",
    "train": "evaluation.training",
    "load": "generation.synthesizer",
    "Controls": "generation.controls",
    "Curve": "generation.curves",
    "Session": "generation.session",
    "Synthesizer": "generation.synthesizer",
    "Take": "generation.take",
    "play": "notebook.player",
}
__all__ = [
    "Controls",
    "Curve",
    "Session",
    "Synthesizer",
    "Take",
    "UserError",
    "load",
    "load_codec",
    "load_config",
    "load_dataset",
    "play",
    "train",
]


def __getattr__(name: str) -> Any:
    """Imports what is asked for when it is asked for, so that `--help` does not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dacformer' has no attribute '{name}'")
    return getattr(importlib.import_module(f"dacformer.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
