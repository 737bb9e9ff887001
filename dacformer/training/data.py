"""The data of a training: crops to train on, and segments to validate on."""

from dataclasses import dataclass

import numpy as np

from dacformer.config import Config
from dacformer.data.batches import TrainingCrops, ValidationSegments
from dacformer.data.dataset import Dataset, check_classes, load_dataset, unigram_nll


@dataclass(frozen=True)
class TrainingData:
    """A data set, cut into crops and segments.

    Attributes:
        dataset: The whole data set.
        crops: Random excerpts of the `train` files.
        segments: Segments of the `val` files.
        unigram: `(K,)`, NLL of `segments` under a unigram model of the training codes, in nats per code.
    """

    dataset: Dataset
    crops: TrainingCrops
    segments: ValidationSegments
    unigram: np.ndarray

    @classmethod
    def load(cls, config: Config) -> "TrainingData":
        """Reads the data set of a training.

        Raises:
            UserError: It is missing or damaged, or a row is of a class that has no training rows.
        """
        dataset = load_dataset(config.data.path)
        check_classes(dataset, dataset.rows)
        training, frames, batch = config.training, config.data.segment_frames, config.data.batch_size
        crops = TrainingCrops(dataset, frames, training, training.steps * batch)
        segments = ValidationSegments(dataset, frames, training.validation_batches * batch)
        unigram = unigram_nll(crops.sample_of_codes, segments.codes, dataset.info.codebook_size)
        return cls(dataset, crops, segments, unigram)
