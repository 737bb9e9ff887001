"""`python -m torture`: a campaign; `python -m torture replay FILE`: one finding, with its traceback."""

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}  # before torch

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm

from torture.campaign import SHARES, Plan, cores, do_unit, make_bench, run_campaign, share_inputs
from torture.findings import load_finding
from torture.inputs import replay as replay_input

FOLDER = Path("runs/torture")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def campaign(
    context: typer.Context,
    kills: Annotated[int, typer.Option(min=0, help="Of each of the three jobs.")] = 100,
    fills: Annotated[int, typer.Option(min=0, help="Full disks, for each of the jobs and for saving takes.")] = 20,
    inputs: Annotated[int, typer.Option(min=0, help="Mutated inputs, shared among the kinds.")] = 100_000,
    only: Annotated[
        str, typer.Option(help=f"Of all that, separated by commas: kill, full/take, train, {', '.join(SHARES)}.")
    ] = "",
    each: Annotated[int, typer.Option(min=0, help="Inputs of each kind, in place of --inputs.")] = 0,
    seed: Annotated[int, typer.Option(help="Another seed, other moments and inputs.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes side by side.")] = cores(),
    folder: Annotated[Path, typer.Option(help="For its state and its findings.")] = FOLDER,
) -> None:
    """Kill, fill and fuzz. Goes on where it was broken off; exit code 1 if anything was found."""
    if context.invoked_subcommand:
        return
    counts = dict.fromkeys(SHARES, each) if each else share_inputs(inputs)
    plan = Plan(seed, kills, fills, counts, workers, tuple(only.split(",")) if only else ())
    table, findings = run_campaign(plan, folder)
    print(table, end="")
    raise SystemExit(bool(findings.first))


@app.command()
def replay(file: Annotated[Path, typer.Argument(help="In runs/torture/findings.")]) -> None:
    """Do again what led to a finding."""
    finding, data = load_finding(file)
    print(finding)
    part, _, name = finding.kind.partition("/")
    with tempfile.TemporaryDirectory() as scratch:
        plan = Plan(finding.seed, int(part != "input"), 0, {}, 1)
        bench = make_bench(plan, Path(scratch))
        if data is not None:
            (Path(scratch) / "replay").mkdir()
            replay_input(bench.kinds[name], finding, data, bench.workshop, Path(scratch) / "replay")
            return
        from torture import campaign
        from torture.campaign import Unit

        campaign._bench = bench
        again = do_unit(Unit(finding.kind, range(finding.number, finding.number + 1)))[1]
        for found in again:
            print(found.error, found.where, found.detail, sep="\n")
        print(f"Found again: {len(again)}.")


if __name__ == "__main__":
    torch.set_num_threads(1)
    tqdm.monitor_interval = 0  # its thread would be forked
    if hasattr(os, "nice"):
        os.nice(max(0, 15 - os.nice(0)))
    sys.argv[0] = "torture"
    app()
