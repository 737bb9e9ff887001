"""Tables of measurements: summaries by source, and the files of a report.

In all of them a clip's `source` is `generated` or `real`; a column of a summary that ends in `_real` is of the latter.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from dacformer.files import write_text


def summarise_by_source(clips: pd.DataFrame, measure: Callable[[pd.DataFrame], dict[str, float]]) -> dict[str, float]:
    """Summarises generated and real clips in the same way.

    Args:
        clips: Has a column `source`.
        measure: Takes the rows of one source.

    Returns:
        The figures of generated clips by their names, then those of real ones with the suffix `_real`.
    """
    row: dict[str, float] = {}
    for source, suffix in (("generated", ""), ("real", "_real")):
        row |= {f"{name}{suffix}": value for name, value in measure(clips[clips["source"] == source]).items()}
    return row


def with_mean(summary: pd.DataFrame) -> pd.DataFrame:
    """Appends a last row with the means to a summary."""
    table = summary.copy()
    table.loc["mean"] = table.mean(numeric_only=True)
    return table


def write_result(
    folder: Path, name: str, summary: pd.DataFrame, figure: Figure, tables: Mapping[str, pd.DataFrame] | None = None
) -> list[Path]:
    """Writes a measurement: each table as `<its name>.csv`, `<name>.json` (the summary) and `<name>.png`.

    Returns:
        The paths, in this order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    csvs = {folder / f"{title}.csv": table for title, table in (tables or {}).items()}
    for path, table in csvs.items():
        write_text(path, table.to_csv(index=False))
    paths = [*csvs, folder / f"{name}.json", folder / f"{name}.png"]
    write_summary(paths[-2], summary)
    figure.savefig(paths[-1], dpi=90)
    return paths


def write_summary(path: Path, summary: pd.DataFrame) -> None:
    """Writes a summary as JSON, an object for each row."""
    rows = summary.round(4).to_dict(orient="index")
    write_text(path, json.dumps(rows, indent=2))
