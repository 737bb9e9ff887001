"""Makes `docs/sounds.md` and its sounds from a run: `python docs/make_sounds.py runs/med`.

For each texture that the run was trained on: an original, the same through the codec, and two generated
takes. Mono Ogg Opus, some 20 kB each.
"""

import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import torch
import typer

import dacformer
from dacformer import Curve, Synthesizer, UserError
from dacformer.audio import resample
from dacformer.textures import TEXTURES, Texture, synthesize

DOCS = Path(__file__).parent
OPUS_RATE = 48_000
COMPRESSION_LEVEL = 0.8  # of libsndfile, from 0 to 1: about 60 kbit/s
VALUE, LOW, HIGH = 0.5, 0.1, 0.9
SEED = 1_000_000  # beyond those of `dacformer textures`: no original was trained on


@dataclass(frozen=True)
class Example:
    """One sound of the page: `audio` is `(N,)` float32 at the codec's rate."""

    title: str
    recipe: str
    audio: np.ndarray


def examples(synth: Synthesizer, run: Path, texture: Texture, seconds: float) -> Iterator[Example]:
    """The sounds of one texture, each with the call or the command that makes it."""
    rate, name, parameter = synth.codec.sample_rate, texture.name, texture.parameter
    original = synthesize(name, VALUE, seconds, rate, SEED).astype(np.float32)
    yield Example("Original", f'synthesize("{name}", {VALUE}, {seconds:g}, {rate}, seed={SEED})', original)

    codes = synth.codec.encode(torch.from_numpy(original)[None, None])
    decoded = synth.codec.decode(codes)[0, 0, : len(original)].cpu().numpy()
    yield Example(
        "Original through the codec", f"codec.decode(codec.encode(original)), {synth.codec.identity}", decoded
    )

    curve = Curve([(0, LOW), (seconds, HIGH)])
    moving = f"{parameter} from {LOW} to {HIGH}"
    for title, value, word in (
        (f"Generated, {parameter} {VALUE}", VALUE, f"{VALUE}"),
        (f"Generated, {moving}", curve, f"0:{LOW},{seconds:g}:{HIGH}"),
    ):
        take = synth.generate(seconds, {"class": name, parameter: value}, seed=0)
        words = ["--seconds", f"{seconds:g}", "--control", f"class={name}", "--control", f"{parameter}={word}"]
        yield Example(title, shlex.join(["dacformer", "generate", run.as_posix(), *words]), take.audio)


def write_page(folder: Path, synth: Synthesizer, run: Path, seconds: float) -> Path:
    """Write `sounds.md` and `sounds/` into a folder, in place of the last ones."""
    shutil.rmtree(folder / "sounds", ignore_errors=True)
    (folder / "sounds").mkdir()
    step, metrics = synth.checkpoint.metadata.step, synth.checkpoint.metadata.metrics
    lines = [
        "# Sounds",
        "",
        "An original, the same through the codec (the best that any model of its codes could do), and two",
        "takes that the model generated: at the parameter's value of the original, and with a curve.",
        "Nothing was chosen: the seeds are the first. An original was not among the training data.",
        "",
        f"The model is `{run.name}` at step {step:,}; its validation NLL is {metrics['val_nll']:.2f} nats per code.",
        f"The codec is `{synth.info.codec_name}`. `python docs/make_sounds.py {run.as_posix()}` made this page.",
    ]
    for name in (name for name in TEXTURES if name in synth.conditions.classes):
        texture = TEXTURES[name]
        lines += ["", f"## {name.capitalize()}", "", f"{texture.description} The parameter is `{texture.parameter}`."]
        lines += ["", "| | | recipe |", "| --- | --- | --- |"]
        for number, example in enumerate(examples(synth, run, texture, seconds)):
            file = f"sounds/{name}_{number}.ogg"
            audio = resample(example.audio, synth.codec.sample_rate, OPUS_RATE)
            soundfile.write(
                folder / file, audio, OPUS_RATE, format="OGG", subtype="OPUS", compression_level=COMPRESSION_LEVEL
            )
            player = f'<audio controls preload="none" src="{file}"></audio>'
            lines.append(f"| [{example.title}]({file}) | {player} | `{example.recipe}` |")
    (folder / "sounds.md").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return folder / "sounds.md"


def main(
    run: Annotated[Path, typer.Argument(help="A run that was trained on the textures, such as runs/med.")],
    seconds: Annotated[float, typer.Option(min=1, max=10, help="Length of each sound.")] = 4.0,
) -> None:
    """Make the page of sounds anew from a run."""
    synth = dacformer.load(run)
    if not set(TEXTURES) & set(synth.conditions.classes):
        raise UserError(
            f"{run} knows none of the textures: {', '.join(TEXTURES)}. Give a run that was trained on them."
        )
    page = write_page(DOCS, synth, run, seconds)
    total = sum(file.stat().st_size for file in (DOCS / "sounds").iterdir())
    print(f"{page}, and {total / 1e6:.2f} MB of sounds in {DOCS / 'sounds'}")


if __name__ == "__main__":
    try:
        typer.run(main)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
