"""From a checkpoint to sound: controls, sampling, the sampler over frames, the synthesizer, live playing."""

from dacformer.generation.controls import Controls, Curve
from dacformer.generation.sampling import sample_code
from dacformer.generation.synthesizer import Synthesizer, load
from dacformer.generation.take import Take, read_take
from dacformer.live.engine import ControlState, LiveEngine, Performance

__all__ = [
    "Controls",
    "Curve",
    "LiveEngine",
    "Performance",
    "ControlState",
    "Synthesizer",
    "Take",
    "sample_code",
    "load",
    "read_take",
]
