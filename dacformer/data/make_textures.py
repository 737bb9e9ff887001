"""Writes the procedural textures as a folder of sounds, or as a dataset."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from dacformer.arguments import unknown_name
from dacformer.audio import read_comment, write_audio
from dacformer.codec import Codec
from dacformer.config import load_config, save_config
from dacformer.data.dataset import INFO_FILE, DatasetInfo
from dacformer.data.encode import encode_folder
from dacformer.errors import UserError
from dacformer.textures import TEXTURES, synthesize

MOST_VALUES = 1001
"""Most values of a parameter: file names hold a value from 0 to 1 with three decimals."""


def write_textures(
    folder: Path,
    names: Sequence[str] = (),
    values: int = 21,
    takes: int = 24,
    seconds: float = 5.0,
    seed: int = 0,
    sample_rate: int = 44_100,
) -> list[Path]:
    """Writes sounds `<class>/<class>--<parameter>-<value>--take<n>.flac`. Existing ones stay.

    The comment of each file says how it was made. A file that was made with other arguments is replaced.

    Args:
        folder: Folder to write to.
        names: Names of textures; all if empty.
        values: Number of values of the parameter, evenly spaced from 0 to 1.
        takes: Takes of each value.
        seconds: Length of each take.
        seed: Seed of all takes.
        sample_rate: In Hz.

    Returns:
        Paths of all files.

    Raises:
        UserError: An unknown texture, or more than `MOST_VALUES` values.
    """
    if values > MOST_VALUES:
        raise UserError(f"{values} values of a parameter are more than names can tell apart. Ask for {MOST_VALUES}.")
    for name in names:
        if name not in TEXTURES:
            raise unknown_name("texture", name, TEXTURES)
    chosen = [TEXTURES[name] for name in dict.fromkeys(names or TEXTURES)]
    jobs = [
        (texture, value, take) for texture in chosen for value in np.linspace(0, 1, values) for take in range(takes)
    ]
    calls, paths = [], []
    for i, (texture, value, take) in enumerate(jobs):
        path = folder / texture.name / f"{texture.name}--{texture.parameter}-{value:.3f}--take{take}.flac"
        paths.append(path)
        made = (texture.name, float(value), seconds, sample_rate, seed * len(jobs) + i)
        if not path.is_file() or read_comment(path) != _comment(*made):
            calls.append(delayed(_write)(path.absolute(), *made))  # a worker keeps the folder it was started in
    written = Parallel(n_jobs=-1, return_as="generator_unordered")(calls)
    for _ in tqdm(written, desc="textures", unit="sound", initial=len(jobs) - len(calls), total=len(jobs)):
        pass
    return paths


def _write(path: Path, name: str, value: float, seconds: float, sample_rate: int, seed: int) -> None:
    audio = synthesize(name, value, seconds, sample_rate, seed)
    write_audio(path, audio, sample_rate, _comment(name, value, seconds, sample_rate, seed))


def _comment(name: str, value: float, seconds: float, sample_rate: int, seed: int) -> str:
    return f"dacformer texture {name} value={value} seconds={seconds} rate={sample_rate} seed={seed}"


def make_texture_dataset(
    output: Path,
    codec: Codec,
    codec_name: str,
    names: Sequence[str] = (),
    values: int = 21,
    takes: int = 24,
    seconds: float = 5.0,
    seed: int = 0,
    validation: float = 0.15,
) -> None:
    """Writes textures and encodes them; the arguments are those of `write_textures` and `encode_folder`.

    The sounds stay in `<output>/.sounds` until all are encoded, so interrupted work can continue. Classes of the
    dataset that are not among `names` stay as they are.
    """
    sounds = output / ".sounds"
    before = load_config(output / INFO_FILE, kind=DatasetInfo).made_by if (output / INFO_FILE).is_file() else ""
    written = write_textures(sounds, names, values, takes, seconds, seed, codec.sample_rate)
    for stray in set(sounds.rglob("*.flac")) - set(written):  # left by an interrupted run with other settings
        stray.unlink()
    for name in sorted(set(names or TEXTURES)):
        encode_folder(sounds / name, output, codec, codec_name, validation=validation, seed=seed, root=sounds)
    shutil.rmtree(sounds)
    info = load_config(output / INFO_FILE, kind=DatasetInfo)
    command = f"dacformer textures {output} --values {values} --takes {takes} --seconds {seconds:g} --seed {seed}"
    command += f" --classes {','.join(names)}" if names else ""
    if set(info.level_offset_db) - set(names or TEXTURES) and command not in before:
        command = f"{before} && {command}"
    save_config(info.model_copy(update={"made_by": command}), output / INFO_FILE)
