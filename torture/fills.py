"""A disk that is full at a random moment: one clear line, nothing whole breaks, and with room the work goes on."""

import contextlib
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from dacformer import audio as sound
from dacformer.errors import UserError
from dacformer.generation.synthesizer import Synthesizer
from dacformer.generation.take import Take
from torture.findings import Finding, where_raised
from torture.jobs import Job, in_folder, leftovers
from torture.kills import Reference, finished
from torture.processes import run
from torture.workshop import Workshop

ROOM = 64 << 20
FORMS = ("take.wav", "take.flac", "take.dac", "take")
"""What a take is saved as; the last is a folder."""


def can_mount(folder: Path) -> bool:
    """Whether a disk of any size can be had here: only root may mount one."""
    try:
        with disk(folder, 1 << 20):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextlib.contextmanager
def disk(folder: Path, size: int) -> Iterator[Path]:
    """A disk of so many bytes, mounted on a folder while the context lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield folder
    finally:
        _mount("umount", "-l", folder)
        folder.rmdir()


def _mount(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


def full_job_round(job: Job, reference: Reference, folder: Path, seed: int, number: int) -> list[Finding]:
    """Runs a job on a disk that is too small, looks at what is there, makes room, goes on, and compares.

    Args:
        job: The job.
        reference: The same job, uninterrupted.
        folder: Made for this round, and removed.
        seed: Of the campaign.
        number: Of the round.

    Returns:
        What was found.
    """
    size = random.Random(f"{seed} full {job.name} {number}").randint(4 << 10, _needed(job))
    wrong: list[tuple[str, str]] = []
    log, place = folder / "log", folder / "disk"
    try:
        with disk(place, size):
            ended = run(lambda: in_folder(place, job.start), log)
            how = f"disk of {size} bytes"
            wrong += _unclear(ended.status, ended.output, how)
            wrong += [("full disk: not whole", f"{how}: {each}") for each in job.check(place / "out")]
            log.unlink(missing_ok=True)
            _mount("mount", "-o", f"remount,size={ROOM}", place)
            ended = run(lambda: in_folder(place, job.start), log)
            wrong += finished(job, reference, ended, place / "out", f"{how}, then room made")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [Finding(f"full/{job.name}", error, "", detail[-2000:], seed, number) for error, detail in wrong]


def _needed(job: Job) -> int:
    """About what a job writes, in bytes: a disk of this size may or may not be enough."""
    return {"encode": 96 << 10, "train": 1400 << 10, "codec": 2200 << 10}[job.name]


def _unclear(status: int, output: str, how: str) -> list[tuple[str, str]]:
    """Whether a process that ran out of disk said so, in one line."""
    if status == 0:
        return []
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    if status == 2 and len(lines) == 1 and "Traceback" not in output:
        return [] if _tells_of_space(lines[0]) else [("full disk: does not say so", f"{how}: {lines[0]}")]
    last = (output.strip().splitlines() or [""])[-1]
    name = re.match(r"[\w.]+(Error|Exception)\b", last)
    return [(f"full disk: {name[0] if name else f'status {status}'}", f"{how}: {output[-1500:]}")]


def _tells_of_space(text: str) -> bool:
    return bool(re.search(r"no space|room|disk is full|quota", text, re.IGNORECASE))


def full_take_round(workshop: Workshop, folder: Path, seed: int, number: int) -> list[Finding]:
    """Saves a take over an older one on a disk that has not room enough, then with room.

    Args:
        workshop: Its two takes are used.
        folder: Made for this round, and removed.
        seed: Of the campaign.
        number: Of the round; chooses the form.

    Returns:
        What was found.
    """
    rng = random.Random(f"{seed} full take {number}")
    form, (old, new) = FORMS[number % len(FORMS)], workshop.takes
    wrong: list[tuple[str, str, str]] = []
    try:
        with disk(folder / "disk", ROOM) as place:
            path = old.save(place / form)
            used = shutil.disk_usage(place).used
            size = used + rng.randint(0, rng.choice((8 << 10, 64 << 10, used)))  # small files first, then the sound
            _mount("mount", "-o", f"remount,size={size}", place)
            how = f"{form} over an older one, disk of {size} bytes, {used} used"
            failed = _failure(new, path)
            if isinstance(failed, UserError):
                wrong += (
                    [] if _tells_of_space(str(failed)) else [("does not say so", where_raised(failed), str(failed))]
                )
            elif failed is not None:
                wrong.append((type(failed).__name__, where_raised(failed), str(failed)))
            expected = [new] if failed is None else [old, new]
            wrong += [(error, "", f"{how}: {text}") for error, text in _broken(path, expected, workshop.synth)]
            _mount("mount", "-o", f"remount,size={ROOM}", place)
            if (failed := _failure(new, path)) is not None:
                wrong.append((f"with room: {type(failed).__name__}", where_raised(failed), f"{how}: {failed}"))
            wrong += [(f"with room: {e}", "", f"{how}: {text}") for e, text in _broken(path, [new], workshop.synth)]
            if left := leftovers(place):
                wrong.append(("leftovers", "", f"{how}: {', '.join(left)}"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [Finding("full/take", f"full disk: {e}", where, text, seed, number, form) for e, where, text in wrong]


def _failure(take: Take, path: Path) -> Exception | None:
    try:
        take.save(path)
    except Exception as error:
        return error
    return None


def _broken(path: Path, takes: list[Take], synth: Synthesizer) -> list[tuple[str, str]]:
    """What is wrong with a saved take that should be one of these."""
    try:
        if path.suffix in (".wav", ".flac"):
            audio, _ = soundfile.read(path)
            same = any(len(audio) == len(take.audio) and np.abs(audio - take.audio).max() < 1e-4 for take in takes)
            recipe = sound.read_comment(path)
            same = same and any(f'"seed": {take.recipe.seed}' in recipe for take in takes)
        else:
            opened = synth.load_take(path)
            same = any(np.array_equal(opened.codes, take.codes) and opened.recipe == take.recipe for take in takes)
            if not path.suffix:  # a folder holds the sound itself
                same = same and any(np.array_equal(opened.audio, take.audio) for take in takes)
    except Exception as error:
        return [("the older take is broken", f"{type(error).__name__}: {error}")]
    return [] if same else [("the older take is neither itself nor the new one", path.name)]
