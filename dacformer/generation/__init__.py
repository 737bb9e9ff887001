"""From a checkpoint to sound: controls, sampling, the sampler over frames, the synthesizer."""

from dacformer.generation.controls import Controls, Curve
from dacformer.generation.sampling import choose_code
from dacformer.generation.synthesizer import Synthesizer, load
from dacformer.generation.take import Take, read_take

__all__ = ["Controls", "Curve", "Synthesizer", "Take", "choose_code", "load", "read_take"]
