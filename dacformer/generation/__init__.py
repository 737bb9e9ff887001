"""From a checkpoint to sound: controls, sampling, the sampler over frames, the synthesizer."""

from dacformer.generation.controls import Controls, Curve
from dacformer.generation.sampling import choose_code
from dacformer.generation.synthesizer import Synthesizer, Take, load

__all__ = ["Controls", "Curve", "Synthesizer", "Take", "choose_code", "load"]
