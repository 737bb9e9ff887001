"""Quality of a codec on recordings, by class and by number of codebooks, compared with Opus.

Every recording is brought to the same loudness, and trailing silence is cut, as in the codec's training. So the
results can be compared with those of the training. `N` samples, `K` codebooks, `T` frames.
"""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from dacformer import audio as sound
from dacformer.codec import Codec
from dacformer.codec.metrics import load_recording, make_comparison, perplexity
from dacformer.data.labels import label_files
from dacformer.display.audio_plots import plot_sounds
from dacformer.errors import UserError
from dacformer.files import write_text

DISTANCES = ["mel", "stft", "level_db"]


@dataclass(frozen=True)
class CodecResult:
    """Quality of a codec.

    Attributes:
        identity: Identity of the codec.
        clips: One row per recording and coder: `sound`, `class`, `coder` (`K=1` ... `K=4`, `opus 12`), `kbit_per_s`,
            `mel` and `stft` (distances as in descript-audio-codec, 0 is the same sound), `level_db` (RMS of the
            output over RMS of the input).
        perplexity: Perplexity of each codebook; one row per class and one for `all`.
        speed: Seconds of sound per second of `encoding` and `decoding`, on this machine.
        pictures: For each class its first recording, original and decoded, `(N,)` by title.
        sample_rate: In Hz.
    """

    identity: str
    clips: pd.DataFrame
    perplexity: pd.DataFrame
    speed: dict[str, float]
    pictures: dict[str, np.ndarray]
    sample_rate: int

    @property
    def by_coder(self) -> pd.DataFrame:
        """Means over all recordings, one row per coder; for `level_db` the mean absolute value."""
        sized = self.clips.assign(level_db=self.clips["level_db"].abs())
        return sized.groupby("coder", sort=False)[["kbit_per_s", *DISTANCES]].mean()

    @property
    def by_class(self) -> pd.DataFrame:
        """Means over each class with all codebooks, beside the perplexities."""
        whole = self.clips[self.clips["coder"] == f"K={self.perplexity.shape[1]}"]
        whole = whole.assign(level_db=whole["level_db"].abs())
        means = whole.groupby("class")[DISTANCES].mean()
        means.loc["all"] = whole[DISTANCES].mean()
        return means.join(self.perplexity)

    def to_text(self) -> str:
        """Tables, by coder and by class."""
        speed = ", ".join(f"{name} {times:.0f} x real time" for name, times in self.speed.items())
        tables = [table.round(2).to_string() for table in (self.by_coder, self.by_class)]
        return "\n\n".join([f"{self.identity}: {speed}", *tables])


def measure_codec(
    codec: Codec,
    sounds: Path,
    held_out: float | None = None,
    exclude: Sequence[str] = (),
    seed: int = 0,
    opus: Sequence[float] = (),
) -> CodecResult:
    """Encodes and decodes recordings, and compares them with the originals.

    Args:
        codec: The codec.
        sounds: A folder of recordings; their classes are read as for a data set.
        held_out: Share of the recordings to measure: those that `dacformer.codec.train` holds out with the same share
            and seed. All recordings if None.
        exclude: Recordings whose path contains one of these strings are left out first.
        seed: Seed of the choice of held-out recordings.
        opus: Bit rates in kbit/s at which Opus (`opusenc`, `opusdec`) is measured on the same recordings.

    Returns:
        The figures.

    Raises:
        UserError: No recordings, or Opus is asked for and not installed.
    """
    if opus and not (shutil.which("opusenc") and shutil.which("opusdec")):
        raise UserError("There is no opusenc and opusdec here. Install opus-tools, or leave Opus out.")
    paths = sound.find_audio(sounds, exclude)
    if held_out is not None:
        paths = sound.split_by_recording(paths, held_out, seed)[1]
    if not paths:
        raise UserError(f"No recording of {sounds} is left to measure: see --held-out and --exclude.")
    root = sounds if sounds.is_dir() else sounds.parent
    classes = [label.class_name for label in label_files(paths, root)]
    rows: list[dict[str, Any]] = []
    codes: list[torch.Tensor] = []
    pictures: dict[str, np.ndarray] = {}
    seconds = {"encoding": 0.0, "decoding": 0.0, "sound": 0.0}
    compare = make_comparison(codec.sample_rate)
    _timed(lambda: codec.decode(codec.encode(torch.zeros(1, 1, codec.sample_rate))))  # warms up
    for path, name in tqdm(list(zip(paths, classes, strict=True)), desc="through the codec", unit="sound"):
        audio = load_recording(path, codec.sample_rate)
        info = {"sound": path.relative_to(root).as_posix(), "class": name}
        coded, decoded = _send_through(codec, audio, seconds)
        codes.append(coded)
        for k, (coder, rate) in enumerate(_coders(codec)):
            rows.append(info | {"coder": coder, "kbit_per_s": rate} | compare(decoded[k], audio))
        if f"{name}: original" not in pictures:
            pictures |= {f"{name}: original": audio, f"{name}: decoded": decoded[-1]}
        for asked in opus:
            coarse, rate = opus_roundtrip(audio, codec.sample_rate, asked)
            rows.append(info | {"coder": f"opus {asked:g}", "kbit_per_s": rate} | compare(coarse, audio))
    return CodecResult(
        identity=codec.identity,
        clips=pd.DataFrame(rows),
        perplexity=_perplexities(codec, codes, classes),
        speed={name: seconds["sound"] / seconds[name] for name in ("encoding", "decoding")},
        pictures=pictures,
        sample_rate=codec.sample_rate,
    )


def _coders(codec: Codec) -> list[tuple[str, float]]:
    """Name and kbit/s of the codec with its first codebook, the first two, and so on."""
    each = np.log2(codec.codebook_size)
    return [(f"K={k}", k * each * codec.frame_rate / 1000) for k in range(1, codec.num_codebooks + 1)]


def _send_through(codec: Codec, audio: np.ndarray, seconds: dict[str, float]) -> tuple[torch.Tensor, list[np.ndarray]]:
    """Encodes audio `(N,)` and decodes it with 1 to `K` codebooks.

    Args:
        codec: The codec.
        audio: `(N,)`.
        seconds: Totals to add to: length of the audio, time of encoding, time of decoding with all codebooks.

    Returns:
        Codes `(K, T)`, and audio `(N,)` by number of codebooks.
    """
    given = torch.from_numpy(audio)[None, None]
    codes, taken = _timed(lambda: codec.encode(given))
    seconds["encoding"] += taken
    seconds["sound"] += len(audio) / codec.sample_rate
    results = []
    for k in range(1, codec.num_codebooks + 1):
        decoded, taken = _timed(lambda k=k: codec.decode(codes[:, :k]))
        results.append(decoded[0, 0, : len(audio)].cpu().numpy())
    seconds["decoding"] += taken  # with all codebooks
    return codes[0], results


def _perplexities(codec: Codec, codes: Sequence[torch.Tensor], classes: Sequence[str]) -> pd.DataFrame:
    """Perplexity of each codebook, a row per class and one for `all`, from codes `(K, T)` and their classes."""
    used = {name: [c for c, of in zip(codes, classes, strict=True) if of == name] for name in sorted(set(classes))}
    table = {
        name: perplexity(torch.cat(each, dim=-1)[None], codec.codebook_size).tolist()
        for name, each in {**used, "all": list(codes)}.items()
    }
    columns = [f"perplexity_{k + 1}" for k in range(codec.num_codebooks)]
    return pd.DataFrame.from_dict(table, orient="index", columns=columns)


def opus_roundtrip(audio: np.ndarray, sample_rate: int, kbit_per_s: float) -> tuple[np.ndarray, float]:
    """Encodes and decodes audio with Opus.

    Args:
        audio: `(N,)`, mono.
        sample_rate: In Hz.
        kbit_per_s: As `opusenc --bitrate` takes it; 6 is its least.

    Returns:
        `(N,)` float32, and the kbit/s that were spent.

    Raises:
        UserError: `opusenc` or `opusdec` failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, coded, back = (Path(folder) / name for name in ("given.wav", "coded.opus", "back.wav"))
        sound.write_audio(given, audio, sample_rate)
        for command in (
            ["opusenc", "--quiet", "--bitrate", f"{kbit_per_s:g}", str(given), str(coded)],
            ["opusdec", "--quiet", "--rate", str(sample_rate), str(coded), str(back)],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise UserError(f"{command[0]} failed: {done.stderr.strip()}")
        decoded = sound.read_audio(back, sample_rate)
        decoded = np.pad(decoded, (0, max(0, len(audio) - len(decoded))))[: len(audio)]
        return decoded, coded.stat().st_size * 8 / 1000 / (len(audio) / sample_rate)


def write_codec_report(result: CodecResult, folder: Path) -> list[Path]:
    """Writes `codec.csv` (every recording), `codec.json` (means), `codec.png` and `codec_sounds.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("codec.csv", "codec.json", "codec.png", "codec_sounds.png")]
    write_text(paths[0], result.clips.to_csv(index=False))
    summary = {
        "codec": result.identity,
        "times_real_time": result.speed,
        "by_coder": result.by_coder.to_dict("index"),
        "by_class": result.by_class.to_dict("index"),
    }
    write_text(paths[1], json.dumps(summary, indent=2))
    plot_codec(result).savefig(paths[2], dpi=90)
    plot_sounds(result.pictures, result.sample_rate, columns=4).savefig(paths[3], dpi=80)
    return paths


def plot_codec(result: CodecResult) -> Figure:
    """Draws distance against bit rate, distance by class, and codebooks in use."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    coders = result.by_coder
    for label, chosen in (
        (result.identity.rpartition("-")[0] or result.identity, coders[coders.index.str.startswith("K=")]),
        ("Opus", coders[coders.index.str.startswith("opus")]),
    ):
        if len(chosen):
            left.plot(chosen["kbit_per_s"], chosen["mel"], "o-", label=label)
    left.set(xlabel="kbit/s", ylabel="mel distance", title="all recordings", ylim=(0, None))
    left.legend()
    classes = result.by_class
    middle.barh(list(classes.index), classes["mel"], color=["C0"] * (len(classes) - 1) + ["C3"])
    middle.set(xlabel="mel distance", title="by class, all codebooks")
    middle.invert_yaxis()
    right.bar(range(1, result.perplexity.shape[1] + 1), result.perplexity.loc["all"])
    right.set(xlabel="codebook", ylabel="entries in use", title="perplexity")
    plt.close(figure)
    return figure


def _timed(work: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start
