"""Reference sounds: real textures, and clips of a data set, encoded and decoded by the codec."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed

from dacformer.codec import Codec
from dacformer.codec.dac_file import same_codec
from dacformer.conditions.labels import Conditions
from dacformer.data.dataset import Dataset
from dacformer.errors import UserError
from dacformer.generation.synthesizer import Synthesizer
from dacformer.textures import TEXTURES, synthesize

FIT_SEED, CEILING_SEED = 2**30, 2**31
"""Seeds of the real textures that the classifier is fitted to, and of those that are the ceiling: apart from
each other and from those of any training set."""


def known_textures(synth: Synthesizer, classes: Sequence[str] = ()) -> list[str]:
    """Lists the procedural textures that a model knows, and checks a choice of them.

    Args:
        synth: The model.
        classes: A choice; all that it knows, if empty.

    Returns:
        Their names.

    Raises:
        UserError: A class that is no texture, or that the model does not know; or it knows none.
    """
    known = [
        name
        for name, texture in TEXTURES.items()
        if name in synth.conditions.classes and texture.parameter in synth.conditions.parameters
    ]
    for name in classes:
        if name not in known:
            raise UserError(f"'{name}' is no texture that the model knows. It knows: {', '.join(known) or 'none'}.")
    if not known:
        raise UserError("The model knows no procedural texture, and the descriptors are theirs. Train one on textures.")
    return list(classes) or known


def synthesize_all(jobs: Iterable[tuple[str, float, int]], seconds: float, sample_rate: int) -> np.ndarray:
    """Synthesizes textures, in parallel processes.

    Args:
        jobs: Class, value of its parameter in [0, 1], and seed of each.
        seconds: Length of each.
        sample_rate: In Hz.

    Returns:
        `(B, N)` float32.
    """
    calls = (delayed(synthesize)(name, value, seconds, sample_rate, seed) for name, value, seed in jobs)
    return np.stack(list(Parallel(n_jobs=-1)(calls)))


def codec_roundtrip(codec: Codec, audio: np.ndarray) -> np.ndarray:
    """Encodes and decodes audio `(B, N)` with a codec; the result has the same shape."""
    pieces = torch.from_numpy(audio)[:, None].split(8)
    return torch.cat([codec.decode(codec.encode(p))[:, 0, : audio.shape[1]].cpu() for p in pieces]).numpy()


def load_reference_clip(dataset: Dataset, file: str, codec: Codec, seconds: float) -> np.ndarray:
    """Decodes the first seconds of a file of a data set; the rest is not decoded.

    Args:
        dataset: The data set.
        file: Name of the file, as in the manifest.
        codec: The codec of the data set.
        seconds: Most seconds.

    Returns:
        `(N,)` float32 at the codec's rate, at its original loudness.

    Raises:
        UserError: The codec is not the one that the data set was made with.
    """
    info = dataset.info
    if not same_codec(codec.identity, info.codec):
        raise UserError(
            f"{dataset.path} was made with the codec {info.codec}, but this one is {codec.identity}: it would play "
            "noise. Give that codec, or encode the sounds again."
        )
    whole = dataset.read(file)
    num_frames = min(whole.num_frames, max(1, round(seconds * info.frame_rate)))
    length = round(whole.original_length * codec.sample_rate / whole.sample_rate)
    start = dataclasses.replace(
        whole,
        codes=whole.codes[:, : info.num_codebooks, :num_frames],
        sample_rate=codec.sample_rate,
        original_length=min(length, num_frames * codec.hop_length),
        codec=codec.identity,  # as the data set states it, where the file does not
    )
    return codec.decode_file(start)[:, 0]


def row_to_controls(conditions: Conditions, row: "pd.Series[Any]") -> dict[str, Any]:
    """Turns a row of the manifest into controls: the clip's class, and the parameters that are known."""
    parameters = {name: row[name] for name in conditions.parameters if name in row and not pd.isna(row[name])}
    return {"class": row["class"], **{name: float(value) for name, value in parameters.items()}}
