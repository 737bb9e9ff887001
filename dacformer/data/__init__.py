"""From a folder of sounds to a data set, and from a data set to batches."""

from dacformer.conditions.labels import Conditions, ParameterRange
from dacformer.data.batches import TrainingCrops, ValidationSegments
from dacformer.data.check import check_sounds
from dacformer.data.dataset import Dataset, DatasetInfo, load_dataset

__all__ = [
    "Conditions",
    "Dataset",
    "TrainingCrops",
    "DatasetInfo",
    "ParameterRange",
    "ValidationSegments",
    "check_sounds",
    "load_dataset",
]
