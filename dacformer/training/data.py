"""The data of a training: excerpts to train on, segments to validate on."""

from dataclasses import dataclass

import numpy as np

from dacformer.config import Config
from dacformer.data.batches import TrainingCrops, ValidationSegments
from dacformer.data.dataset import Dataset, check_classes, load_dataset, unigram_nll


@dataclass(frozen=True)
class TrainingData:
    """A data set, cut for a training.

    Attributes:
        dataset: The whole set.
        crops: Excerpts to train on.
        segments: Of the files held out, to validate on.
        unigram: `(K,)`, NLL of `segments` when codes are guessed by how often they occur, in nats per code.
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
