"""Listening comparisons: recordings, one take per class, a sweep of a parameter, a morph between classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dacformer.codec import Codec, load_codec
from dacformer.conditions.labels import Conditions
from dacformer.data.dataset import Dataset, evenly_spaced
from dacformer.errors import UserError
from dacformer.evaluation.references import load_reference_clip
from dacformer.generation.curves import Curve
from dacformer.generation.synthesizer import Synthesizer
from dacformer.generation.take import Take
from dacformer.notebook.audio_grid import AudioGrid, grid_of_takes


def reference_clips(dataset: Dataset, codec: Codec | None = None, n: int = 3, seconds: float = 5.0) -> AudioGrid:
    """Decode recordings of each class. No model of these codes can sound better than they do.

    Args:
        dataset: The data set.
        codec: The codec of the data set; loaded by its name if None.
        n: Number of clips per class, from evenly spaced files.
        seconds: Most seconds of each clip.

    Returns:
        A row of sounds per class, at their original loudness and the codec's sample rate.

    Raises:
        UserError: The codec is not the one that the data set was made with.
    """
    info = dataset.info
    codec = codec or load_codec(info.codec_name, info.num_codebooks)
    sounds = {}
    for name in dataset.conditions.classes:
        rows = dataset.rows[dataset.rows["class"] == name]
        for i in evenly_spaced(len(rows), n):
            row = rows.iloc[i]
            values = {key: row[key] for key in dataset.conditions.parameters if not np.isnan(row[key])}
            title = ", ".join([f"{name} {i + 1}", *(f"{key} {value:g}" for key, value in values.items())])
            sounds[title] = load_reference_clip(dataset, str(row["file"]), codec, seconds)
    return AudioGrid(sounds, info.sample_rate, columns=n)


def one_take_per_class(synth: Synthesizer, seconds: float = 3.0, seed: int = 0, **sampling: Any) -> AudioGrid:
    """Generate a take of every class, its parameters left unset.

    Args:
        synth: The model.
        seconds: Length of each.
        seed: Of all together.
        **sampling: As in `Synthesizer.generate`.

    Returns:
        The sounds.
    """
    classes = synth.conditions.classes
    takes = synth.generate_batch(seconds, [{"class": name} for name in classes], seed, **sampling)
    return grid_of_takes(dict(zip(classes, takes, strict=True)))


def sweep(
    synth: Synthesizer,
    class_name: str | None = None,
    parameter: str | None = None,
    values: Sequence[float] = (),
    seeds: Sequence[int] = (0,),
    seconds: float = 3.0,
    **sampling: Any,
) -> AudioGrid:
    """Generate takes that differ in one parameter only.

    Args:
        synth: The model.
        class_name: The class; the first one that has a parameter if None.
        parameter: A parameter of the class; the first one if None.
        values: Values in the parameter's units; if empty, five from the lowest to the highest trained value.
        seeds: Seeds; one row of sounds for each.
        seconds: Length of each take.
        **sampling: As in `Synthesizer.generate`.

    Returns:
        The sounds, values from left to right; one of each class where the model has no parameter to move.

    Raises:
        UserError: An unknown class or parameter.
    """
    class_name, parameter = choose_control(synth.conditions, class_name, parameter)
    if parameter is None:
        return one_take_per_class(synth, seconds, seeds[0], **sampling)
    scale = synth.conditions.parameters[parameter]
    if not len(values):
        values = np.linspace(scale.low, scale.high, 5).tolist()
    controls = [{"class": class_name, parameter: value} for value in values]
    takes = {}
    for seed in seeds:
        titles = [f"{class_name}, {parameter} {value:g}, seed {seed}" for value in values]
        takes |= zip(titles, synth.generate_batch(seconds, controls, seed, **sampling), strict=True)
    return grid_of_takes(takes, columns=len(values))


def sweep_curve(
    synth: Synthesizer, seconds: float, class_name: str | None = None, parameter: str | None = None
) -> dict[str, Any]:
    """Make controls that move a parameter from its lowest to its highest value and back.

    Args:
        synth: The model that they are for.
        seconds: Length of the whole way.
        class_name: As in `sweep`.
        parameter: As in `sweep`.

    Returns:
        Controls for `Synthesizer.generate`; where the model has no parameter, the weight of a class moves.
    """
    class_name, parameter = choose_control(synth.conditions, class_name, parameter)
    if parameter is None:
        return {"class": {class_name: Curve([(0.0, 0.0), (seconds / 2, 1.0), (seconds, 0.0)])}}
    scale = synth.conditions.parameters[parameter]
    return {"class": class_name, parameter: Curve([(0.0, scale.low), (seconds / 2, scale.high), (seconds, scale.low)])}


def morph(
    synth: Synthesizer,
    a: str | None = None,
    b: str | None = None,
    seconds: float = 6.0,
    seed: int = 0,
    **sampling: Any,
) -> Take:
    """Generate a take that goes from one class to another.

    Args:
        synth: The model.
        a: The class that it starts with; the first if None.
        b: The class that it ends with; the last if None.
        seconds: Length of the way.
        seed: As in `Synthesizer.generate`.
        **sampling: As in `Synthesizer.generate`.

    Returns:
        The take.

    Raises:
        UserError: An unknown class.
    """
    a, b = a or synth.conditions.classes[0], b or synth.conditions.classes[-1]
    weights = {a: Curve([(0.0, 1.0), (seconds, 0.0)]), b: Curve([(0.0, 0.0), (seconds, 1.0)])}
    return synth.generate(seconds, {"class": weights}, seed, **sampling)


def choose_control(
    conditions: Conditions, class_name: str | None = None, parameter: str | None = None
) -> tuple[str, str | None]:
    """Choose a class, and a parameter that it has, where they are not given.

    Args:
        conditions: What the model knows.
        class_name: The parameter's first class if None, else the first that has a parameter, else the first.
        parameter: The class's first if None.

    Returns:
        Class and parameter; None where the class has no parameter.

    Raises:
        UserError: A parameter that the class, or any class, does not have.
    """
    pairs = [(name, key) for key, scale in conditions.parameters.items() for name in scale.classes]
    fitting = [(n, p) for n, p in pairs if class_name in (None, n) and parameter in (None, p)]
    if parameter is not None and not fitting:
        known = ", ".join(f"{n}: {p}" for n, p in pairs)
        raise UserError(f"No parameter '{parameter}' of {class_name or 'any class'}. Known: {known or 'none'}.")
    return fitting[0] if fitting else (class_name or conditions.classes[0], None)
