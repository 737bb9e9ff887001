"""Measures and prints the table; writes `benchmarks/results/latest.json`."""

import json
import platform
import warnings
from pathlib import Path

import pandas as pd
import torch

from benchmarks.rows import all_rows

RESULTS = Path(__file__).parent / "results" / "latest.json"


def main() -> None:
    warnings.filterwarnings("ignore", category=FutureWarning)
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    rows = []
    for make_row in all_rows():
        if (made := make_row()) is not None:
            rows.append(made)
            print(f"done: {made['name']}", flush=True)
    with pd.option_context("display.max_colwidth", None, "display.width", None):
        print(
            pd.DataFrame(rows)
            .astype(object)
            .fillna("")[["name", "ours", "baseline", "ratio", "target", "met", "limit_share", "note"]]
            .to_string(index=False)
        )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2))
    print(f"{machine}; written to {RESULTS}")


if __name__ == "__main__":
    main()
