"""The campaign of `make torture` in its short form, and whether its net holds what it should."""

import ctypes
import mmap
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from dacformer.audio import write_audio
from dacformer.errors import UserError
from dacformer.textures import synthesize
from torture import formats
from torture.findings import Collection, Finding, load_finding
from torture.inputs import try_batch
from torture.jobs import Results
from torture.kills import kill_round, measure_reference
from torture.kinds import Kind, Variant
from torture.mutate import mutate_bytes, mutate_text, mutate_tree
from torture.workshop import Workshop

ROOT = Path(__file__).parents[1]
WORKSHOP = cast(Workshop, None)  # planted inputs do not look at it

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, /proc and audit hooks are those of Linux")


@pytest.mark.slow
def test_a_short_campaign_finds_nothing(tmp_path: Path) -> None:
    """A kill of each job and 120 inputs of each kind, always the same ones."""
    words = ["--kills", "1", "--fills", "0", "--each", "120", "--folder", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "torture", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr  # 1: something was found
    tried = dict(re.findall(r"^(\S+/\S+) +(\d+) ", done.stdout, re.MULTILINE))
    assert {kind: int(count) for kind, count in tried.items() if kind.startswith("input/")} == dict.fromkeys(
        [
            f"input/{name}"
            for name in ("dac", "sound", "labels", "settings", "manifest", "checkpoint", "recipe", "words")
        ],
        120,
    )
    assert tried.keys() >= {"kill/encode", "kill/train", "kill/codec"}
    found = Collection(tmp_path / "findings").first.values()
    assert not found, "\n\n".join(f"{each.kind}: {each.error} in {each.where}\n{each.detail}" for each in found)


# Is what should be found found?


def raises(_: Path, __: Workshop) -> None:
    raise ValueError("planted")


def allocates(_: Path, __: Workshop) -> None:
    memory = mmap.mmap(-1, 400 << 20)  # not of the heap, which may hold as much that was freed before
    memory[:: mmap.PAGESIZE] = b"x" * (len(memory) // mmap.PAGESIZE)
    raise UserError(f"{len(memory)} bytes")


def hides_that_memory_ran_out(_: Path, __: Workshop) -> None:
    try:
        bytearray(4 << 30)
    except MemoryError as error:
        raise UserError("not whole") from error


def writes_outside(path: Path, _: Workshop) -> None:
    (path.parents[3] / "outside").write_text("planted")


def removes_outside(path: Path, _: Workshop) -> None:
    (path.parents[3] / "outside").unlink()


def runs_a_command(_: Path, __: Workshop) -> None:
    try:
        os.system("true")
    except Exception as error:  # as a reader of hostile files does
        raise UserError("refused") from error


def runs_code(path: Path, _: Workshop) -> None:
    exec(path.read_text())


def opens_a_socket(_: Path, __: Workshop) -> None:
    import socket

    socket.socket()


def leaves_a_process(_: Path, __: Workshop) -> None:
    os.posix_spawn("/bin/sleep", ["sleep", "60"], {})


def plants_the_canary(path: Path, _: Workshop) -> None:
    path.with_name("canary").touch()


def is_killed(_: Path, __: Workshop) -> None:
    ctypes.string_at(0)


def exits(_: Path, __: Workshop) -> None:
    os._exit(3)


def works(_: Path, __: Workshop) -> None:
    time.sleep(2.2)


def burns(_: Path, __: Workshop) -> None:
    while True:
        pass


def talks(_: Path, __: Workshop) -> None:
    raise UserError("x" * 5000)


PLANTED: dict[Callable[[Path, Workshop], None], str | None] = {
    raises: "ValueError",
    allocates: "memory",
    hides_that_memory_ran_out: "memory",
    writes_outside: "escape: open",
    removes_outside: "escape: os.remove",
    runs_a_command: "escape: os.system",
    runs_code: "escape: exec",
    opens_a_socket: "escape: socket.__new__",
    leaves_a_process: "escape: os.posix_spawn",
    plants_the_canary: "the canary sang",
    is_killed: "SIGSEGV",
    exits: "exit 3",
    burns: "hang",
    works: None,  # it waits, but takes no processor's time: on a busy machine that happens to the best
    talks: "endless message",
}


@pytest.mark.parametrize(("planted", "error"), PLANTED.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_what_an_input_may_not_do_is_found(
    tmp_path: Path, planted: Callable[[Path, Workshop], None], error: str | None
) -> None:
    def only_the_second(path: Path, workshop: Workshop) -> None:
        if path.read_bytes() == b"1":
            planted(path, workshop)
        raise UserError("refused")

    kind = Kind("planted", (Variant("a.txt", (b"",), lambda data, rng: b"", only_the_second),))
    object.__setattr__(kind, "make", lambda seed, number: (kind.variants[0], b"%d" % number))
    (tmp_path / "outside").touch()
    found = try_batch(kind, WORKSHOP, 0, range(3), tmp_path / "batch")
    assert [(each.error, each.number) for each in found] == ([] if error is None else [(error, 1)])
    assert (tmp_path / "outside").read_bytes() == b"" and not (tmp_path / "batch").exists()


class Sloppy:
    """A job that writes in place, piece by piece: what `kill -9` leaves of it looks whole and is not."""

    name = "sloppy"

    def start(self) -> None:
        Path("out").mkdir(exist_ok=True)
        with Path("out/file").open("wb", buffering=0) as file:
            for i in range(20):
                file.write(b"%02d" % i)
                time.sleep(0.003)

    def check(self, out: Path) -> list[str]:
        path = out / "file"
        return ["file is there, but not whole"] if path.exists() and path.stat().st_size != 40 else []

    def results(self, out: Path) -> Results:
        return {"file": (out / "file").read_bytes()}


class Forgetful(Sloppy):
    """A job that is told to go on and does not: it ends, as if it had."""

    name = "forgetful"

    def start(self) -> None:
        if not Path("out/file").exists():
            super().start()

    def check(self, out: Path) -> list[str]:
        return []


@pytest.mark.parametrize(("job", "error"), [(Sloppy(), "not whole"), (Forgetful(), "file differ")])
def test_a_job_that_does_not_survive_a_kill_is_found(tmp_path: Path, job: Any, error: str) -> None:
    reference = measure_reference(job, tmp_path / "reference")
    found = [each for i in range(8) for each in kill_round(job, reference, tmp_path / "round", 0, i)]
    assert any(error in each.error for each in found)
    assert not (tmp_path / "round").exists()


def test_one_cause_is_one_finding_that_can_be_read_again(tmp_path: Path) -> None:
    collection = Collection(tmp_path)
    for number, where in enumerate(("audio.py:read", "audio.py:read", "cli.py:info")):
        collection.add(Finding("input/sound", "ValueError", where, "text", 0, number, "a.wav"), b"%d" % number)
    again = Collection(tmp_path)
    assert sorted(again.counts.values()) == [1, 2] and again.first == collection.first
    path = next(path for path in tmp_path.glob("*.wav") if path.read_bytes() == b"0")
    finding, data = load_finding(path)
    assert (finding.number, finding.where, data) == (0, "audio.py:read", b"0")
    assert load_finding(path.with_name(f"{path.name}.json")) == (finding, data)


# Are the mutations what they say?


def test_checksums_of_ogg_pages_are_those_that_libsndfile_writes(tmp_path: Path) -> None:
    data = write_audio(tmp_path / "a.ogg", 0.1 * synthesize("wind", 0.5, 0.2), 44100).read_bytes()
    assert formats._mend_ogg(data) == data
    broken = bytearray(data)
    broken[22:26] = b"\0\0\0\0"
    assert formats._mend_ogg(bytes(broken)) == data


@pytest.mark.parametrize("seed", range(20))
def test_mutations_follow_from_the_seed_alone(seed: int) -> None:
    tree = {"a": [1, 2.5, "x"], "b": {"c": None}}
    for mutate, value in (
        (mutate_bytes, b"0123456789" * 9),
        (mutate_tree, tree),
        (lambda text, rng: mutate_text(text, rng, ",;"), "a,b\n1,2\n"),
        (formats.mutate_json, b'{"a": [1, {"b": 2}]}'),
        (formats.mutate_yaml, b"a: 1\nb: {c: [2, 3]}\n"),
        (formats.mutate_xml, b'<?xml version="1.0"?><r a="1"><t>x</t></r>'),
    ):
        first, second = (repr(mutate(value, random.Random(seed))) for _ in range(2))  # pyright: ignore
        assert first == second
    assert tree == {"a": [1, 2.5, "x"], "b": {"c": None}}
