"""Transformer over stacked codec codes. It knows nothing of audio, files or class names."""

from dacformer.model.compiled import CompiledStep
from dacformer.model.dacformer import DACFormer, State

__all__ = ["CompiledStep", "DACFormer", "State"]
