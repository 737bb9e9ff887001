"""The results as text for a terminal, and as Markdown for docs/performance.md."""

from typing import Any

import pandas as pd

from benchmarks.machine import machine_lines


def limits_line(limits: dict[str, Any]) -> str:
    """The machine's peaks."""
    bfloat16 = limits["bfloat16_peak"]
    second = "" if bfloat16 is None else f", in bfloat16 {bfloat16 / 1e9:.0f}"
    return (
        f"matrix products in float32 {limits['float32_peak'] / 1e9:.0f} GFLOP/s{second}; reading from memory "
        f"{limits['read_one'] / 1e9:.1f} GB/s with one thread, {limits['read_all'] / 1e9:.1f} with all"
    )


def to_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """One line for each row, as strings."""
    return pd.DataFrame([_cells(row) for row in rows])


def to_text(results: dict[str, Any]) -> str:
    """The table; the notes are below it, since they are long."""
    table = to_frame(results["rows"])
    notes = [f"  {row['name']}: {row['note']}" for row in results["rows"] if row["note"]]
    with pd.option_context("display.max_colwidth", None):
        return "\n".join([table.drop(columns="note").to_string(index=False), "", *notes])


def to_markdown(results: dict[str, Any]) -> str:
    """Machine, limits, and the table; a ratio is bold where its target is met."""
    table = to_frame(results["rows"])
    table["ratio"] = table["ratio"].where(table["met"] == "no", "**" + table["ratio"] + "**")
    lines = [table.columns, ["---"] * len(table.columns), *table.to_numpy()]
    return "\n".join(
        [
            "```text",
            machine_lines(results["machine"]),
            "```",
            "",
            f"Limits: {limits_line(results['limits'])}.",
            "",
            *(f"| {' | '.join(line)} |" for line in lines),
        ]
    )


def _cells(row: dict[str, Any]) -> dict[str, str]:
    return {
        "work": row["name"],
        "ours": f"{row['ours']:.3g} {row['unit']}",
        "baseline": f"{row['baseline']:.3g} {row['unit']}",
        "ratio": f"{row['ratio']:.2f}",
        "asked": "" if row["asked"] is None else f"{row['asked']:g}",
        "target": f"{row['target']:.3g}",
        "met": "yes" if row["met"] else "no",
        "of the limit": "" if row["limit_share"] is None else f"{row['limit_share']:.0%}",
        "seconds": f"{row['seconds']:.0f}",
        "note": row["note"],
    }
