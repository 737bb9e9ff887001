"""The three long jobs, as a person starts them and goes on with them, and how their results are compared."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file

from dacformer import cli
from dacformer.checkpoint import find_checkpoint, list_checkpoints, load_checkpoint, load_state, read_metadata
from dacformer.codec import load_codec, read_dac
from dacformer.codec import train as codec_training
from dacformer.data.dataset import INFO_FILE, MANIFEST_FILE, load_dataset
from dacformer.errors import UserError
from dacformer.training.metrics import read_metrics
from torture.workshop import CODEC_TRAINING, TRAINING, Workshop

Results = dict[str, bytes]
"""What must be the same, bit for bit, by name."""


class Job(Protocol):
    """Something long that may be interrupted. It works in the folder `out` of the current directory."""

    name: str

    def start(self) -> None:
        """Starts it, or goes on with what is there, as its messages tell a person to."""
        ...

    def check(self, out: Path) -> list[str]:
        """What is wrong with what an interrupted job has left; empty if all that looks whole is whole."""
        ...

    def results(self, out: Path) -> Results:
        """What a finished job has made."""
        ...


def dacformer(*words: str | Path) -> None:
    """Runs the command line in this process."""
    sys.argv = ["dacformer", *map(str, words)]
    try:
        cli.main()
    except SystemExit as stopped:
        if stopped.code:
            raise


class Encode:
    """A folder of sounds becomes a data set."""

    name = "encode"

    def __init__(self, workshop: Workshop) -> None:
        """Takes the workshop's sounds and codec."""
        self._folder = workshop.folder

    def start(self) -> None:  # noqa: D102
        codec = self._folder / "tiny.safetensors"
        dacformer("encode", self._folder / "sounds", "out", "--codec", codec, "--shifts", "2", "--validation", "0.3")

    def check(self, out: Path) -> list[str]:  # noqa: D102
        wrong = [_refused(read_dac, path) for path in visible(out, "*.dac")]
        if (out / MANIFEST_FILE).exists() or ((out / INFO_FILE).exists() and visible(out, MANIFEST_FILE)):
            wrong.append(
                _refused(lambda path: [load_dataset(path).codes(f) for f in load_dataset(path).rows.file], out)
            )
        return [each for each in wrong if each]

    def results(self, out: Path) -> Results:  # noqa: D102
        return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


class Train:
    """A training with a checkpoint every other step."""

    name = "train"

    def __init__(self, workshop: Workshop) -> None:
        """Takes the workshop's data set."""
        self._params = workshop.folder / "params.yaml"

    def start(self) -> None:  # noqa: D102
        there = list_checkpoints(Path("out"))
        newest = read_metadata(there[-1]) if there else None
        # Also after the last step: a validation that a signal broke off is made up for.
        if newest is None or newest.step < TRAINING["training"]["steps"] or not newest.metrics:
            dacformer("train", self._params, "run=out", *(["--resume"] if there else []))

    def check(self, out: Path) -> list[str]:  # noqa: D102
        wrong = []
        for path in list_checkpoints(out):
            wrong += [_refused(load_checkpoint, path), _refused(load_state, path)]
        validated = max([line["step"] for line in read_metrics(out) if "val_nll" in line], default=0)
        newest = max([read_metadata(path).step for path in list_checkpoints(out)], default=0)
        if newest < validated - TRAINING["training"]["validate_every"]:
            wrong.append(f"a checkpoint is lost: validated at step {validated}, newest is {newest}")
        return [each for each in wrong if each]

    def results(self, out: Path) -> Results:  # noqa: D102
        last = find_checkpoint(out, "last")
        lines = read_metrics(out)
        every = TRAINING["training"]["validate_every"]
        losses = [[line["step"], line["loss"], line["gradient_norm"]] for line in lines if "loss" in line]
        judged = [
            [line["step"], line["val_nll"], line["rollout_error"]]
            for line in lines
            if "val_nll" in line and line["step"] % every == 0
        ]
        _, weights, state = load_state(last)
        return {
            "losses": json.dumps(losses).encode(),
            "validations": json.dumps(judged).encode(),
            "step": last.name.encode(),
            "weights": tensor_bytes(weights),
            "weights as trained": tensor_bytes(state["model"]),
        }


class TrainCodec:
    """A codec's training that saves at every step."""

    name = "codec"

    def __init__(self, workshop: Workshop) -> None:
        """Takes the workshop's sounds."""
        self._params = workshop.folder / "codec.yaml"

    def start(self) -> None:  # noqa: D102
        state = Path("out/train_state.pt")
        if state.is_file() and torch.load(state, weights_only=True)["step"] == CODEC_TRAINING["steps"]:
            return  # all was saved, and then the disk was full
        codec_training.main(self._params, ["run=out"], resume=state.is_file())

    def check(self, out: Path) -> list[str]:  # noqa: D102
        wrong = [_refused(load_codec, path) for path in visible(out, "*.safetensors")]
        if (out / "train_state.pt").exists():
            wrong.append(_refused(lambda path: torch.load(path, weights_only=True)["step"], out / "train_state.pt"))
        return [each for each in wrong if each]

    def results(self, out: Path) -> Results:  # noqa: D102
        state = torch.load(out / "train_state.pt", weights_only=True)
        return {
            "step": str(state["step"] == CODEC_TRAINING["steps"]).encode(),
            "weights": tensor_bytes(load_file(out / "small.safetensors")),
            "weights as trained": tensor_bytes(state["model"]),
        }


def make_jobs(workshop: Workshop) -> dict[str, Job]:
    """The three, by name."""
    return {job.name: job for job in (Encode(workshop), Train(workshop), TrainCodec(workshop))}


def visible(folder: Path, pattern: str) -> list[Path]:
    """Files that a person would take for whole: no part of their path below the folder is hidden."""
    found = sorted(folder.rglob(pattern))
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def leftovers(folder: Path) -> list[str]:
    """Names of what a finished job should have cleared away."""
    paths = (path for path in folder.rglob("*") if path.name.startswith(".") or path.suffix in (".part", ".gone"))
    return sorted(str(path.relative_to(folder)) for path in paths)


def tensor_bytes(tensors: dict[str, torch.Tensor]) -> bytes:
    """All bits of some tensors, in the order of their names."""
    return b"".join(key.encode() + tensors[key].contiguous().numpy().tobytes() for key in sorted(tensors))


def differing(expected: Results, got: Results) -> list[str]:
    """Names of results that are not the same."""
    return sorted(name for name in expected | got if expected.get(name) != got.get(name))


def _refused(read: Callable[[Path], object], path: Path) -> str:
    """What is said when something that looks whole is read, or ''."""
    try:
        read(path)
    except UserError as error:
        return f"{path.name} is there, but not whole: {error}"
    except Exception as error:
        return f"{path.name} is there, but not whole: {type(error).__name__}: {error}"
    return ""


def in_folder(folder: Path, work: Callable[[], None]) -> None:
    """Does work with a folder as the current directory."""
    os.chdir(folder)
    work()
