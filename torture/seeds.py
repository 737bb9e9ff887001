"""What inputs are made from: whole files of every sort, and the mutations that are not of one format alone."""

import contextlib
import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from dacformer import audio as sound
from dacformer.codec import read_dac
from dacformer.codec.dac_file import DAC_VERSION
from dacformer.textures import synthesize
from torture import formats
from torture.formats import Mutation
from torture.mutate import mutate_bytes, mutate_text
from torture.workshop import SOUNDS, Workshop

Seeds = tuple[bytes, ...]

CODINGS = {
    ".wav": ("WAV PCM_16", "WAV FLOAT", "WAV MS_ADPCM", "WAVEX PCM_24", "RF64 PCM_16", "WAV GSM610"),
    ".flac": ("FLAC PCM_16",),
    ".ogg": ("OGG VORBIS", "OGG OPUS"),
    ".mp3": ("MP3 MPEG_LAYER_III",),
    ".aiff": ("AIFF PCM_16", "AIFF FLOAT"),
    ".au": ("AU PCM_16", "AU ULAW"),
    ".caf": ("CAF PCM_16", "CAF ALAC_16"),
}
"""Containers and codings that libsndfile writes, by the suffix that a person would give them."""

TABLE_WORDS = (
    *["file", "class", "split", "frames", "1,5", "n/a", "50%", "wind--level-1--a.wav"],
    "Class Name",
    "Full File Name",
)
MANIFEST_WORDS = ("train", "val", "test", "frames", "wind", "../run/config.yaml", "/etc/passwd")
RECIPE_WORDS = ("points", "step", "class", "wind", "edit", "loop", "prompt", "generate", "temperature", "at_seconds")
COMMAND_WORDS = ("step", "class", "wind", "level", "training", "data.path", "run")

COMMANDS: Seeds = (
    b"class=rain",
    b"class=rain:0.5,wind:0.5",
    b"level=1.5",
    b"level=0:0.1,10:0.9",
    b"level=step:0:1,5:2",
    b"set training.steps=20",
    b"set model={dim: 32, num_heads: 2}",
    b"set sampling.temperature=[1, 2]",
)
MAPPING = b"""\
osc_port: 9000
controllers:
  1: {name: level, low: 0.5, high: 2}
notes:
  36: wind
osc:
  /1/fader: {name: level}
"""


def read_all(*paths: Path) -> Seeds:
    """The bytes of files."""
    return tuple(path.read_bytes() for path in paths)


def sounds(suffix: str) -> Seeds:
    """A tenth of a second in each coding of a suffix."""
    audio = 0.3 * synthesize("wind", 0.5, 0.1, 44100, 1)
    made = []
    for each in CODINGS[suffix]:
        container, coding = each.split()
        target = io.BytesIO()
        rate = {"GSM610": 8000, "OPUS": 48000}.get(coding, 44100)
        data = np.stack([audio, audio[::-1]], axis=1) if coding == "OPUS" else audio[:: 44100 // min(rate, 44100)]
        soundfile.write(target, data, rate, format=container, subtype=coding)
        made.append(target.getvalue())
    return tuple(made)


def tables(suffix: str) -> Seeds:
    """Labels of the workshop's sounds, with our columns and with those of DACSynthformer."""
    ours = pd.DataFrame(
        {
            "file": [f"{name}.wav" for name in SOUNDS],
            "class": [name.partition("--")[0] for name in SOUNDS],
            "level": [i / 2 for i in range(len(SOUNDS))],
            "depth": "",
        }
    )
    theirs = ours.rename(columns={"file": "Full File Name", "class": "Class Name"})
    if suffix == ".csv":
        return tuple(
            table.to_csv(index=False, sep=s).encode() for table, s in ((ours, ","), (ours, ";"), (theirs, ","))
        )
    sheets = []
    for table in (ours, theirs):
        target = io.BytesIO()
        table.to_excel(target, index=False)
        sheets.append(target.getvalue())
    return tuple(sheets)


def mutate_table(data: bytes, rng: random.Random) -> bytes:
    """Changes the text of a `.csv`, and how it is encoded."""
    changed = mutate_text(data.decode(), rng, ",;", TABLE_WORDS)
    coded = changed.encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-16", "latin-1", "utf-8-sig")), "replace")
    return coded if rng.random() < 0.85 else mutate_bytes(coded, rng)


def mutate_manifest(data: bytes, rng: random.Random) -> bytes:
    """Changes the text of a manifest."""
    changed = mutate_text(data.decode(), rng, ",", MANIFEST_WORDS).encode("utf-8", "replace")
    return changed if rng.random() < 0.85 else mutate_bytes(changed, rng)


def mutate_metrics(data: bytes, rng: random.Random) -> bytes:
    """Changes one line of a `metrics.jsonl`."""
    lines = data.split(b"\n")[:-1]
    at = rng.randrange(len(lines))
    lines[at] = formats.mutate_json(lines[at], rng)
    return b"\n".join(lines) + b"\n"


def mutate_command(data: bytes, rng: random.Random) -> bytes:
    """Changes a word of the command line."""
    return mutate_text(data.decode(), rng, "=:,.", COMMAND_WORDS).encode("utf-8", "replace")


def mutate_recipe_yaml(data: bytes, rng: random.Random) -> bytes:
    """Changes a file of a take's folder."""
    return formats.mutate_yaml(data, rng, RECIPE_WORDS)


def recipes(workshop: Workshop) -> Seeds:
    """The recipes of the workshop's takes, as JSON."""
    return tuple(json.dumps(take.recipe.to_json()).encode() for take in workshop.takes)


def recipe_in(make: Callable[[str], bytes]) -> Mutation:
    """Changes a recipe, and puts it where it is kept."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        return make(formats.mutate_json(data, rng, RECIPE_WORDS).decode("utf-8", "replace"))

    return mutate


def dac_with_recipe(workshop: Workshop) -> Callable[[str], bytes]:
    """Makes a `.dac` file with any text for a recipe."""
    file = read_dac(workshop.folder / "takes" / "take.dac")
    meta = {
        "input_db": np.atleast_1d(np.float32(file.input_db)),
        "original_length": file.original_length,
        "sample_rate": file.sample_rate,
        "chunk_length": file.chunk_length,
        "channels": file.channels,
        "padding": file.padding,
        "dac_version": DAC_VERSION,
    }

    def make(recipe: str) -> bytes:
        about = {"gain_db": 0.0, "codec": file.codec, "recipe": recipe}
        tree = {"codes": file.codes.astype(np.uint16), "metadata": meta, "dacformer": about}
        stream = io.BytesIO()
        np.save(stream, np.array(tree, dtype=object), allow_pickle=True)
        return stream.getvalue()

    return make


def wav_with_comment(comment: str) -> bytes:
    """Makes a `.wav` file with any text for a comment."""
    stream = io.BytesIO()
    with soundfile.SoundFile(stream, "w", 44100, 1, format="WAV") as wav:
        with contextlib.suppress(soundfile.LibsndfileError):  # a text that libsndfile itself refuses
            wav.comment = comment.replace("\0", "")[: sound.MAX_COMMENT]
        wav.write(np.zeros(400))
    return stream.getvalue()
