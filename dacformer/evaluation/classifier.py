"""Classifier of sounds: logistic regression on standardised descriptors."""

from collections.abc import Iterable, Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from dacformer.codec import Codec
from dacformer.data.dataset import Dataset, evenly_spaced
from dacformer.errors import UserError
from dacformer.evaluation.descriptors import describe
from dacformer.evaluation.parallel import parallel_map
from dacformer.evaluation.references import FIT_SEED, codec_roundtrip, load_reference_clip, synthesize_all

MAX_CLIPS = 40
"""Most clips of each class that the classifier is fitted to."""


def fit_to_textures(classes: Sequence[str], codec: Codec, num_values: int = 11, seconds: float = 4.0) -> Pipeline:
    """Fits the classifier to real textures, with and without the codec, so that it ignores artefacts of the codec.

    Args:
        classes: Names of textures.
        codec: Codec of the model that is measured.
        num_values: Number of values of each parameter.
        seconds: Length of each clip.

    Returns:
        The classifier; `predict` takes rows of `features`.
    """
    jobs = [
        (name, float(value), FIT_SEED + 1000 * c + i)
        for c, name in enumerate(classes)
        for i, value in enumerate(np.linspace(0.0, 1.0, 2 * num_values))
    ]
    real = synthesize_all(tqdm(jobs, desc="fitting the classifier", unit="sound"), seconds, codec.sample_rate)
    return fit_to_sounds([*real, *codec_roundtrip(codec, real)], 2 * [name for name, *_ in jobs], codec.sample_rate)


def fit_to_dataset(dataset: Dataset, classes: Sequence[str], codec: Codec, seconds: float) -> Pipeline:
    """Fits the classifier to a data set's training clips, through the codec.

    Args:
        dataset: The data set.
        classes: Classes to distinguish.
        codec: The codec of the data set.
        seconds: Most seconds of each clip.

    Returns:
        The classifier; `predict_proba` takes rows of `features`.

    Raises:
        UserError: A class without training clips.
    """
    sounds, names = [], []
    train = dataset.split("train")
    for name in tqdm(classes, desc="fitting the classifier", unit="class"):
        own = train[train["class"] == name]
        if not len(own):
            raise UserError(f"{dataset.path} has no training clips of class '{name}'.")
        for file in own["file"].iloc[evenly_spaced(len(own), MAX_CLIPS)]:
            sounds.append(load_reference_clip(dataset, file, codec, seconds))
            names.append(name)
    return fit_to_sounds(sounds, names, codec.sample_rate)


def fit_to_sounds(sounds: Iterable[np.ndarray], classes: Sequence[str], sample_rate: int) -> Pipeline:
    """Fits the classifier to sounds `(N,)`, one class for each."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return classifier.fit(features(sounds, sample_rate), list(classes))


def features(sounds: Iterable[np.ndarray], sample_rate: int) -> np.ndarray:
    """Computes the features of the classifier: all of `describe` except the level.

    Args:
        sounds: Each `(N,)`.
        sample_rate: In Hz.

    Returns:
        `(len(sounds), F)` float64.
    """
    described = parallel_map(describe, sounds, sample_rate)
    return np.array([[value for name, value in each.items() if name != "level_db"] for each in described])
