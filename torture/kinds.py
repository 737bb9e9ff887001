"""The kinds of input: what they are made from, how they are mutated, and what a person would do with one.

Every `try_*` takes a file that holds the input, in a folder of its own; what it raises beside `UserError` and `OSError`
is a finding, and so is an `AssertionError` of a check of its own.
"""

import ctypes
import functools
import io
import json
import random
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch

from dacformer import audio as sound
from dacformer import cli
from dacformer.codec import load_codec, read_dac, write_dac
from dacformer.config import CodecTrainingConfig, TrainingConfig, load_config, save_config
from dacformer.data import Excerpts, ValidationSegments, check_sounds, load_dataset
from dacformer.data.encode import encode_file
from dacformer.data.labels import label_files, write_label_table
from dacformer.generation.controls import check_controls, parse_control
from dacformer.interfaces.live_controls import load_mapping
from dacformer.textures import synthesize
from dacformer.training import train
from dacformer.training.checkpoint import load_checkpoint, load_state
from dacformer.training.loop import read_metrics
from torture import formats
from torture.formats import Mutation
from torture.mutate import mutate_bytes, mutate_text
from torture.workshop import SOUNDS, Workshop

TryOne = Callable[[Path, Workshop], None]


@dataclass(frozen=True)
class Variant:
    """A file that is mutated.

    Attributes:
        file: Its place below the kind's folder.
        seeds: Whole files to start from.
        mutate: Makes another one of one of them.
        try_one: What is done with it.
        around: What lies in the folder beside it, if anything; copied once per worker.
    """

    file: str
    seeds: tuple[bytes, ...]
    mutate: Mutation
    try_one: TryOne
    around: Path | None = None


@dataclass(frozen=True)
class Kind:
    """Inputs of one sort; number `i` is always the same for one seed, and is of variant `i % len(variants)`."""

    name: str
    variants: tuple[Variant, ...]

    def make(self, seed: int, number: int) -> tuple[Variant, bytes]:
        """The variant of an input, and its bytes."""
        rng = random.Random(f"{seed} {self.name} {number}")
        variant = self.variants[number % len(self.variants)]
        return variant, variant.mutate(rng.choice(variant.seeds), rng)


def make_kinds(workshop: Workshop) -> dict[str, Kind]:
    """All kinds, by name."""
    folder = workshop.folder
    run = folder / "run"
    checkpoint = sorted((run / "checkpoints").iterdir())[-1].relative_to(run)
    dac_seeds = (*_read(sorted((folder / "set").rglob("*.dac"))[:2]), *_read([folder / "takes/foreign.dac"]))
    sounds = _sound_seeds()
    weights, state = mutate_safetensors, formats.mutate_zip(formats.mutate_pickle)
    settings = {
        "params.yaml": (folder / "params.yaml", lambda path, w: _round_trip(load_config(path), path), None),
        "codec.yaml": (folder / "codec.yaml", lambda p, w: _round_trip(load_config(p, kind=CodecTrainingConfig), p), None),
        "dataset.yaml": (folder / "set/dataset.yaml", try_dataset, folder / "set"),
        f"{checkpoint}/config.yaml": (run / checkpoint / "config.yaml", try_checkpoint, run),
        "live.yaml": (_live(folder), lambda p, w: load_mapping(p, w.synth.conditions), None),
    }
    kinds = (
        Kind("dac", (Variant("a.dac", dac_seeds, formats.mutate_npy_pickle, try_dac),)),
        Kind("sound", tuple(Variant(f"a{s}", seeds, formats.mutate_sound, try_sound) for s, seeds in sounds.items())),
        Kind("labels", tuple(Variant(f"a{s}", seeds, mutate, try_labels) for s, seeds, mutate in _label_seeds())),
        Kind(
            "settings",
            tuple(Variant(f, _read([p]), formats.mutate_yaml, t, around) for f, (p, t, around) in settings.items()),
        ),
        Kind("manifest", (Variant("manifest.csv", *_manifest(folder), try_dataset, folder / "set"),)),
        Kind(
            "checkpoint",
            (
                Variant(f"{checkpoint}/model.safetensors", _read([run / checkpoint / "model.safetensors"]), weights, try_checkpoint, run),
                Variant(f"{checkpoint}/train_state.pt", _read([run / checkpoint / "train_state.pt"]), state, try_resume, run),
                Variant("a.safetensors", _read([folder / "tiny.safetensors"]), weights, try_codec),
                Variant("a.pth", _read([folder / "tiny.pth"]), state, try_codec),
                Variant("metrics.jsonl", _read([run / "metrics.jsonl"]), _lines, try_metrics, run),
            ),
        ),
        Kind("recipe", _recipes(workshop)),
        Kind("words", (Variant("words.txt", _word_seeds(), _words, try_words),)),
    )
    return {kind.name: kind for kind in kinds}


# What a person does


def try_dac(path: Path, workshop: Workshop) -> None:
    """Tells of a `.dac` file, decodes it, writes it again."""
    cli.info(path)
    file = read_dac(path)
    assert file.codes.min() >= 0, "a negative code"
    again = read_dac(write_dac(path.with_name("again.dac"), file))
    assert np.array_equal(again.codes, file.codes), "written again, it has other codes"
    audio = workshop.codec.decode_file(file)
    assert np.isfinite(audio).all(), "decoded to NaN"
    sound.write_audio(path.with_name("decoded.wav"), audio, file.sample_rate)


def try_sound(path: Path, workshop: Workshop) -> None:
    """Tells of a sound, reads it twice, with other rubbish in fresh memory each time, checks and encodes it."""
    _perturb(0x55)
    first = sound.read_audio(path, 44100)
    _perturb(0xAA)
    second = sound.read_audio(path, 44100)
    _perturb(0)
    assert np.array_equal(first, second), "read twice, it is not the same sound: memory that nobody wrote"
    assert np.isfinite(first).all(), "NaN or infinity came through"
    cli.info(path)
    check_sounds(path)
    encode_file(path, workshop.codec)


def try_labels(path: Path, workshop: Workshop) -> None:
    """Labels the workshop's sounds by a table, and writes a table of that."""
    root = workshop.folder / "sounds"
    paths = [root / f"{name}.wav" for name in SOUNDS]
    labels = label_files(paths, root, path)
    for label in labels:
        assert all(np.isfinite(value) for value in label.parameters.values()), f"a parameter is not finite: {label}"
        assert label.class_name.strip(), "a class without a name"
    again = path.with_name("again.csv")
    write_label_table(again, {file.name: label for file, label in zip(paths, labels, strict=True)})
    assert label_files(paths, root, again) == labels, f"written again, the labels are others: {labels[0]}"
    shutil.rmtree(path.parent, ignore_errors=True)  # tables that were replaced are kept beside the new one
    path.parent.mkdir()


def try_dataset(path: Path, workshop: Workshop) -> None:
    """Tells of a data set, and draws from it."""
    folder = path.parent
    cli.info(folder)
    dataset = load_dataset(folder)
    excerpts = Excerpts(dataset, 8, TrainingConfig(), 4)
    segments = ValidationSegments(dataset, 8, 4)
    for item in [*(excerpts[i] for i in range(4)), segments[0]]:
        assert torch.isfinite(item["condition"]).all(), "a condition is not finite"
        assert item["mask"].any(), "an excerpt without a frame"
        assert 0 <= item["codes"].min() and item["codes"].max() < dataset.facts.codebook_size, "a code out of range"


def try_checkpoint(path: Path, workshop: Workshop) -> None:
    """Tells of a run, and loads its model."""
    run = path.parents[2]
    cli.info(run)
    load_checkpoint(run, "last")


def try_resume(path: Path, workshop: Workshop) -> None:
    """Loads a training's state, and, of one file in eight, goes on from it."""
    load_state(path.parent)
    if path.read_bytes()[-1000] % 8:
        return
    run = path.parents[2]
    before = {each: each.read_bytes() for each in run.rglob("*") if each.is_file()}
    training = workshop.config.training.model_copy(update={"steps": workshop.config.training.steps + 1})
    config = workshop.config.model_copy(update={"run": run, "training": training})
    try:
        train(config, resume=True)
    finally:  # the folder serves the next input
        for each in [each for each in run.rglob("*") if each.is_file() and each not in before]:
            each.unlink()
        for each in sorted((run / "checkpoints").iterdir()):
            if not any(each.iterdir()):
                each.rmdir()
        for each, data in before.items():
            each.parent.mkdir(parents=True, exist_ok=True)
            each.write_bytes(data)


def try_codec(path: Path, workshop: Workshop) -> None:
    """Loads a codec's weights, and decodes with them."""
    codec = load_codec(path)
    codec.decode(torch.zeros(1, codec.num_codebooks, 2, dtype=torch.int64))


def try_metrics(path: Path, workshop: Workshop) -> None:
    """Reads the figures of a run."""
    for line in read_metrics(path.parent):
        assert isinstance(line, dict), "a line that is no figures"
        float(line["step"])


def try_take(path: Path, workshop: Workshop) -> None:
    """Opens a take, shows it, goes on with it, cuts it, saves it again."""
    if path.suffix == ".wav":
        cli.info(path)
        return
    place = path if path.suffix == ".dac" else path.parent
    if path.suffix == ".dac":
        cli.info(path)
    take = workshop.synth.open_take(place)
    repr(take)
    take.history._repr_html_()
    longer = take.extend(0.03)
    longer.cut(longer.seconds / 2)
    again = workshop.synth.open_take(longer.save(path.parent / "again.dac"))
    assert np.array_equal(again.codes, longer.codes), "opened again, it has other codes"


def try_words(path: Path, workshop: Workshop) -> None:
    """Reads what stands on the command line: a control, and a setting."""
    for word in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        if word.startswith("set "):
            load_config(workshop.folder / "params.yaml", [word[4:]])
            continue
        name, value = parse_control(word)
        check_controls({name: value}, workshop.synth.conditions)
        workshop.synth.generate_codes(0.02, [{name: value}])


def _round_trip(config: object, path: Path) -> None:
    save_config(config, path.with_name("again.yaml"))  # pyright: ignore[reportArgumentType]
    assert load_config(path.with_name("again.yaml"), kind=type(config)) == config, "saved and loaded, it is another"  # pyright: ignore[reportArgumentType]


def _perturb(byte: int) -> None:
    """Makes glibc fill memory with a byte as it hands it out, so that what nobody wrote is seen."""
    if sys.platform == "linux" and hasattr(libc := _libc(), "mallopt"):
        libc.mallopt(-6, byte)  # M_PERTURB of glibc's malloc.h


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


# What inputs are made from


def _read(paths: list[Path]) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in paths)


def _sound_seeds() -> dict[str, tuple[bytes, ...]]:
    """A tenth of a second in every format that libsndfile writes of those that are read, and in several codings."""
    audio = 0.3 * synthesize("wind", 0.5, 0.1, 44100, 1)
    stereo = np.stack([audio, audio[::-1]], axis=1)
    asked = {
        ".wav": (("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "MS_ADPCM"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("WAV", "GSM610")),
        ".flac": (("FLAC", "PCM_16"),),
        ".ogg": (("OGG", "VORBIS"), ("OGG", "OPUS")),
        ".mp3": (("MP3", "MPEG_LAYER_III"),),
        ".aiff": (("AIFF", "PCM_16"), ("AIFF", "FLOAT")),
        ".au": (("AU", "PCM_16"), ("AU", "ULAW")),
        ".caf": (("CAF", "PCM_16"), ("CAF", "ALAC_16")),
    }
    seeds: dict[str, tuple[bytes, ...]] = {}
    for suffix, codings in asked.items():
        made = []
        for container, coding in codings:
            target = io.BytesIO()
            rate, data = (8000, audio[::5]) if coding == "GSM610" else (48000, stereo) if coding == "OPUS" else (44100, audio)
            soundfile.write(target, data, rate, format=container, subtype=coding)
            made.append(target.getvalue())
        seeds[suffix] = tuple(made)
    return seeds


def _label_seeds() -> list[tuple[str, tuple[bytes, ...], Mutation]]:
    rows = [{"file": f"{name}.wav", "class": name.partition("--")[0], "level": i / 2, "depth": ""} for i, name in enumerate(SOUNDS)]
    table = pd.DataFrame(rows)
    theirs = table.rename(columns={"file": "Full File Name", "class": "Class Name"})
    plain, semicolons = (table.to_csv(index=False, sep=s).encode() for s in ",;")
    sheets = []
    for each in (table, theirs):
        target = io.BytesIO()
        each.to_excel(target, index=False)
        sheets.append(target.getvalue())
    words = ("file", "class", "Class Name", "Full File Name", "split", "frames", "wind--level-1--a.wav", "1,5", "50 %", "n/a")

    def text(data: bytes, rng: random.Random) -> bytes:
        changed = mutate_text(data.decode(), rng, ",;", words)
        coded = changed.encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-16", "latin-1", "utf-8-sig")), "replace")
        return coded if rng.random() < 0.85 else mutate_bytes(coded, rng)

    return [
        (".csv", (plain, semicolons, theirs.to_csv(index=False).encode()), text),
        (".xlsx", tuple(sheets), formats.mutate_zip(formats.mutate_xml)),
    ]


def _manifest(folder: Path) -> tuple[tuple[bytes, ...], Mutation]:
    def mutate(data: bytes, rng: random.Random) -> bytes:
        words = ("train", "val", "test", "frames", "wind", "../run/config.yaml", "/etc/passwd")
        changed = mutate_text(data.decode(), rng, ",", words).encode("utf-8", "replace")
        return changed if rng.random() < 0.85 else mutate_bytes(changed, rng)

    return _read([folder / "set/manifest.csv"]), mutate


def mutate_safetensors(data: bytes, rng: random.Random) -> bytes:
    """As `formats` has it."""
    return formats.mutate_safetensors(data, rng)


def _lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")[:-1]
    at = rng.randrange(len(lines))
    lines[at] = formats.mutate_json(lines[at], rng)
    return b"\n".join(lines) + b"\n"


def _live(folder: Path) -> Path:
    text = "osc_port: 9000\ncontrollers:\n  1: {name: level, low: 0.5, high: 2}\nnotes:\n  36: wind\nosc:\n  /1/f: {name: level}\n"
    path = folder / "live.yaml"
    path.write_text(text)
    return path


def _recipes(workshop: Workshop) -> tuple[Variant, ...]:
    """A take's recipe in each of the places where it is kept."""
    takes = workshop.folder / "takes"
    recipe = (json.dumps(workshop.takes[0].recipe).encode(), json.dumps(workshop.takes[1].recipe).encode())
    whole = takes / "whole"
    file = read_dac(takes / "take.dac")
    audio = workshop.takes[0].audio
    words = ("points", "step", "class", "wind", "edit", "loop", "hear", "generate", "temperature", "guidance", "at_seconds")

    def in_dac(data: bytes, rng: random.Random) -> bytes:
        target = workshop.folder / "recipe.dac"
        artifacts = {
            "codes": file.codes.astype(np.uint16),
            "metadata": {"input_db": np.float32([file.input_db]), "original_length": file.original_length, "sample_rate": 44100, "chunk_length": file.chunk_length, "channels": 1, "padding": True, "dac_version": "1.0.0"},
            "dacformer": {"gain_db": 0.0, "codec": file.codec, "recipe": formats.mutate_json(data, rng, words).decode("utf-8", "replace")},
        }
        del target
        stream = io.BytesIO()
        np.save(stream, np.array(artifacts, dtype=object), allow_pickle=True)
        return stream.getvalue()

    def in_wav(data: bytes, rng: random.Random) -> bytes:
        stream = io.BytesIO()
        text = formats.mutate_json(data, rng, words).decode("utf-8", "replace").replace("\0", "")
        with soundfile.SoundFile(stream, "w", 44100, 1, format="WAV") as wav:
            wav.comment = text[: sound.MAX_COMMENT]
            wav.write(audio[:400])
        return stream.getvalue()

    def in_yaml(data: bytes, rng: random.Random) -> bytes:
        return formats.mutate_yaml(data, rng, words)

    return (
        Variant("a.dac", recipe, in_dac, try_take),
        Variant("a.wav", recipe[:1], in_wav, try_take),
        Variant("recipe.yaml", _read([whole / "recipe.yaml"]), in_yaml, try_take, whole),
        Variant("controls.yaml", _read([whole / "controls.yaml"]), in_yaml, try_take, whole),
    )


def _word_seeds() -> tuple[bytes, ...]:
    return (
        b"class=rain",
        b"class=rain:0.5,wind:0.5",
        b"level=1.5",
        b"level=0:0.1,10:0.9",
        b"level=step:0:1,5:2",
        b"set training.steps=20",
        b"set model={dim: 32, num_heads: 2}",
        b"set sampling.temperature=[1, 2]",
    )


def _words(data: bytes, rng: random.Random) -> bytes:
    return mutate_text(data.decode(), rng, "=:,.", ("step", "class", "wind", "level", "training", "data.path", "run")).encode("utf-8", "replace")
