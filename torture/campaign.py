"""A campaign: units of work on all cores, remembered so that it can be broken off, and one table at the end."""

import itertools
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from dacformer.files import write_text
from torture.fills import can_mount, full_job_round, full_take_round
from torture.findings import Collection, Finding
from torture.inputs import try_batch
from torture.jobs import Job, make_jobs
from torture.kills import Reference, kill_round, measure_reference
from torture.kinds import Kind, make_kinds
from torture.processes import end_with_parent
from torture.workshop import Workshop, make_workshop

BATCH = 200
MEMORY = "/dev/shm"
"""Where it is, files are made there: faster, and no disk is worn out."""
SHARES = {"dac": 30, "sound": 20, "labels": 12, "settings": 14, "manifest": 6, "checkpoint": 8, "recipe": 6, "words": 4}
"""Of all inputs, in percent."""


@dataclass(frozen=True)
class Plan:
    """How much of what.

    Attributes:
        seed: All that is random follows from it.
        kills: Of each job.
        fills: Full disks, of each job and of saving takes.
        inputs: Mutated inputs of each kind.
        workers: Processes side by side.
        only: Kinds, or either half of their names; all, if empty.
    """

    seed: int
    kills: int
    fills: int
    inputs: dict[str, int]
    workers: int
    only: tuple[str, ...] = ()

    def wants(self, kind: str) -> bool:
        """Whether `kind`, such as `kill/train`, is asked for."""
        return not self.only or bool({kind, *kind.split("/")} & set(self.only))


@dataclass(frozen=True)
class Unit:
    """What one worker does at a time: a round of a job, or a batch of inputs of a kind."""

    kind: str
    numbers: range

    @property
    def name(self) -> str:
        """Under which it is remembered."""
        return f"{self.kind} {self.numbers.start}-{self.numbers.stop}"


@dataclass(frozen=True)
class Bench:
    """What the workers share, made before they are forked."""

    workshop: Workshop
    jobs: dict[str, Job]
    references: dict[str, Reference]
    kinds: dict[str, Kind]
    seed: int
    scratch: Path


_bench: Bench | None = None  # the workers find it in their own memory


def share_inputs(total: int) -> dict[str, int]:
    """Shares a number of inputs among the kinds."""
    return {name: round(total * share / sum(SHARES.values())) for name, share in SHARES.items()}


def make_bench(plan: Plan, scratch: Path) -> Bench:
    """Makes all that the workers share.

    Args:
        plan: Says what is needed.
        scratch: A folder for everything that is made.
    """
    (scratch / "workshop").mkdir()
    workshop = make_workshop(scratch / "workshop")
    jobs = make_jobs(workshop)
    asked = [(f"kill/{name}", plan.kills) for name in jobs] + [(f"full/{name}", plan.fills) for name in jobs]
    needed = {kind.partition("/")[2] for kind, count in asked if count and plan.wants(kind)}
    references = {name: measure_reference(jobs[name], scratch / f"reference_{name}") for name in sorted(needed)}
    return Bench(workshop, jobs, references, make_kinds(workshop), plan.seed, scratch)


def make_units(plan: Plan, bench: Bench) -> list[Unit]:
    """All units, one kind after the other in turn, so that an early end has seen something of each."""
    lanes = [[Unit(f"kill/{name}", range(i, i + 1)) for i in range(plan.kills)] for name in bench.jobs]
    if plan.fills and can_mount(bench.scratch / "disk"):
        lanes += [[Unit(f"full/{name}", range(i, i + 1)) for i in range(plan.fills)] for name in (*bench.jobs, "take")]
    elif plan.fills:
        print("Full disks are left out: only root can mount one.")
    for name, count in plan.inputs.items():
        batches = (range(start, min(start + BATCH, count)) for start in range(0, count, BATCH))
        lanes.append([Unit(f"input/{name}", numbers) for numbers in batches])
    lanes = [lane for lane in lanes if lane and plan.wants(lane[0].kind)]
    longest = max((len(lane) for lane in lanes), default=1)
    placed = [((i + 0.5) / len(lane) * longest, unit) for lane in lanes for i, unit in enumerate(lane)]
    return [unit for _, unit in sorted(placed, key=lambda pair: pair[0])]


def do_unit(unit: Unit) -> tuple[Unit, list[Finding], float]:
    """What a worker does; also says how many seconds it took."""
    assert _bench is not None
    part, _, name = unit.kind.partition("/")
    folder = _bench.scratch / unit.name.replace("/", "_").replace(" ", "_")
    started, seed, number = time.monotonic(), _bench.seed, unit.numbers.start
    if part == "kill":
        found = kill_round(_bench.jobs[name], _bench.references[name], folder, seed, number)
    elif unit.kind == "full/take":
        found = full_take_round(_bench.workshop, folder, seed, number)
    elif part == "full":
        found = full_job_round(_bench.jobs[name], _bench.references[name], folder, seed, number)
    else:
        found = try_batch(_bench.kinds[name], _bench.workshop, seed, unit.numbers, folder)
    return unit, found, time.monotonic() - started


class Progress:
    """What is done of a campaign, in a file that outlives it."""

    def __init__(self, path: Path, seed: int) -> None:
        """Takes up what is there, if it is of the same seed."""
        self._path = path
        tree = json.loads(path.read_text()) if path.is_file() else {}
        self.done: dict[str, float] = tree["done"] if tree.get("seed") == seed else {}
        self._seed = seed

    def add(self, unit: Unit, seconds: float) -> None:
        """Remembers a unit, and how long it took."""
        self.done[unit.name] = seconds
        write_text(self._path, json.dumps({"seed": self._seed, "done": self.done}))

    def clear(self) -> None:
        """Forgets everything: the campaign is over."""
        self._path.unlink(missing_ok=True)


def run_campaign(plan: Plan, folder: Path) -> tuple[str, Collection]:
    """Does all that is planned and not done yet.

    Args:
        plan: What.
        folder: Receives `state.json` while it goes on, `findings/`, and `report.txt`.

    Returns:
        The table, and what was found.
    """
    progress, findings = Progress(folder / "state.json", plan.seed), Collection(folder / "findings")
    scratch = Path(tempfile.mkdtemp(prefix="torture-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
    started = time.monotonic()
    try:
        bench = make_bench(plan, scratch)
        units = make_units(plan, bench)
        _work_through(units, plan, bench, progress, findings)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    table = make_table(units, progress, findings, time.monotonic() - started)
    write_text(folder / "report.txt", table)
    progress.clear()
    return table, findings


def _work_through(units: list[Unit], plan: Plan, bench: Bench, progress: Progress, findings: Collection) -> None:
    global _bench
    _bench = bench
    waiting = iter([unit for unit in units if unit.name not in progress.done])
    total = sum(len(unit.numbers) for unit in units)
    done = sum(len(unit.numbers) for unit in units if unit.name in progress.done)
    context = multiprocessing.get_context("fork")
    with (
        ProcessPoolExecutor(plan.workers, context, end_with_parent) as pool,
        tqdm(total=total, initial=done, desc="torture") as bar,
    ):
        running = {pool.submit(do_unit, unit) for unit in itertools.islice(waiting, 2 * plan.workers)}
        while running:
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                unit, found, seconds = future.result()
                running |= {pool.submit(do_unit, unit) for unit in itertools.islice(waiting, 1)}
                for finding in found:
                    findings.add(finding, _data_of(bench, finding))
                progress.add(unit, seconds)
                bar.update(len(unit.numbers))
                bar.set_postfix(findings=len(findings.first))


def _data_of(bench: Bench, finding: Finding) -> bytes | None:
    part, _, name = finding.kind.partition("/")
    return bench.kinds[name].make(finding.seed, finding.number)[1] if part == "input" else None


def make_table(units: list[Unit], progress: Progress, findings: Collection, seconds: float) -> str:
    """A line per kind: tried, found (causes and cases), seconds; then a line per finding."""
    lines = [f"{'kind':<18}{'tried':>8}{'causes':>8}{'cases':>8}{'seconds':>9}{'each':>11}"]
    for kind in dict.fromkeys(unit.kind for unit in units):
        mine = [unit for unit in units if unit.kind == kind and unit.name in progress.done]
        tried, took = sum(len(unit.numbers) for unit in mine), sum(progress.done[unit.name] for unit in mine)
        causes = [cause for cause in findings.counts if cause[0] == kind]
        cases = sum(findings.counts[cause] for cause in causes)
        each = f"{took / max(tried, 1) * 1e3:.1f} ms"
        lines.append(f"{kind:<18}{tried:>8}{len(causes):>8}{cases:>8}{took:>9.0f}{each:>11}")
    lines.append(f"all in {seconds:.0f} s")
    for cause, finding in sorted(findings.first.items()):
        kind, error, where = cause
        lines.append(
            f"{findings.counts[cause]:>6} x {kind}: {error} in {where or '-'}: {findings.folder / finding.file_name}"
        )
    return "\n".join(lines) + "\n"


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
