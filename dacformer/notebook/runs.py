"""Runs and settings in a notebook: train a run that is missing, tables of settings and conditions."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from dacformer.checkpoint import WEIGHTS_FILE, list_checkpoints
from dacformer.conditions.labels import Conditions
from dacformer.config import Config, Settings, load_config
from dacformer.errors import UserError
from dacformer.evaluation.training import train
from dacformer.notebook.training_views import LivePlot

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler


def ensure_run(run: str | Path, params_file: str | Path, overrides: Sequence[str] = ()) -> Path:
    """Train a run, with a live plot, if it does not exist yet.

    Args:
        run: A run's or a checkpoint's folder.
        params_file: Settings to train with if there is no run; they must name this folder as their `run`.
        overrides: `key=value`, as for `load_config`.

    Returns:
        The folder.

    Raises:
        UserError: No such run, and settings that name another; bad settings or data.
    """
    run = Path(run).expanduser()
    if list_checkpoints(run) or (run / WEIGHTS_FILE).is_file():
        return run
    config = load_config(params_file, list(overrides))
    if run != config.run:
        raise UserError(
            f"There is no run {run}. Its name may be misspelt; to train it now, take settings that name it: "
            f"{params_file} names {config.run} (overrides=['run={run}'] changes that)."
        )
    # Printed, not logged: it explains to the reader of the notebook why this cell takes minutes.
    print(f"There is no run {run} yet, so it is trained now with {params_file}.")
    return train(config, on_metrics=LivePlot(config))


def settings_table(config: Config) -> "Styler":
    """Make a table of all settings with their meaning, one in a row."""
    return _table(_rows(config), ["setting", "value", "meaning"])


def conditions_table(conditions: Conditions) -> "Styler":
    """Make a table of classes and parameters, with the range of each parameter in the training data."""
    rows = []
    for name in conditions.classes:
        own = {key: scale for key, scale in conditions.parameters.items() if name in scale.classes}
        rows += [(name, key, f"{scale.low:g}", f"{scale.high:g}") for key, scale in own.items()] or [(name, "", "", "")]
    return _table(rows, ["class", "parameter", "from", "to"])


def _table(rows: list[tuple[str, ...]], columns: list[str]) -> "Styler":
    """Make a table whose text is aligned left and never cut off; pandas' own tables cut long text off."""
    style = pd.DataFrame(rows, columns=columns).style.hide(axis="index")
    return style.set_table_styles([{"selector": "th, td", "props": "text-align: left"}])


def _rows(section: Settings, prefix: str = "") -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Settings):
            rows += _rows(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, str(value), (field.description or "").replace("\n", " ").replace("`", "")))
    return rows
