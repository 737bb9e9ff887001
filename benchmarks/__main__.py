"""Measures and prints the table; each row is in `benchmarks/results/latest.json` as soon as it is measured."""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.limits import Limits, measure_limits
from benchmarks.machine import describe_machine, machine_lines
from benchmarks.measure import Row
from benchmarks.rows import Case, all_cases, select
from benchmarks.table import limits_line, to_markdown, to_text
from dacformer.files import write_text

RESULTS = Path(__file__).parent / "results" / "latest.json"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and does what it says."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="WORDS", help="rows whose name has one of these")
    parser.add_argument(
        "--markdown",
        action="store_true",
        help="measure nothing: print the latest table as Markdown",
    )
    options = parser.parse_args(arguments)
    if options.markdown:
        if not RESULTS.is_file():
            sys.exit(f"There is no {RESULTS}. Measure first: python -m benchmarks")
        print(to_markdown(json.loads(RESULTS.read_text(encoding="utf-8"))))
        return
    warnings.filterwarnings("ignore", category=FutureWarning)
    start = time.perf_counter()
    machine = describe_machine()
    print(machine_lines(machine), "\n\nmeasuring the machine's limits ...", flush=True)
    limits = measure_limits()
    print(limits_line(asdict(limits)), flush=True)
    cases = all_cases(limits)
    chosen = select(cases, options.only)
    if not chosen:
        sys.exit("\n".join(["No row has such a name. There are:", *(case.name for case in cases)]))
    results = measure(chosen, machine, limits, RESULTS)
    print(f"\n{to_text(results)}\n\nin {time.perf_counter() - start:.0f} s; written to {RESULTS}")


def measure(cases: Sequence[Case], machine: dict[str, Any], limits: Limits, path: Path) -> dict[str, Any]:
    """Measures rows, and writes all there are after each, so that a run that is stopped keeps what it has."""
    rows: list[Row] = []
    results: dict[str, Any] = {}
    for number, case in enumerate(cases, 1):
        print(f"[{number}/{len(cases)}] {case.name} ...", end=" ", flush=True)
        rows.append(case.run())
        print(f"{rows[-1].ratio:.2f} in {rows[-1].seconds:.0f} s", flush=True)
        results = {
            "machine": machine,
            "limits": asdict(limits),
            "rows": [row.to_json() for row in rows],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(results, indent=2))
    return results


if __name__ == "__main__":
    main()
