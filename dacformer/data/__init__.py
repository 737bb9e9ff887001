"""From a folder of sounds to a data set, and from a data set to batches."""

from dacformer.data.batches import Excerpts, ValidationSegments
from dacformer.data.check import check_sounds
from dacformer.data.conditions import Conditions, ParameterRange
from dacformer.data.dataset import Dataset, Facts, load_dataset

__all__ = [
    "Conditions",
    "Dataset",
    "Excerpts",
    "Facts",
    "ParameterRange",
    "ValidationSegments",
    "check_sounds",
    "load_dataset",
]
