"""Runs that are trained when missing, and tables of settings and conditions."""

from pathlib import Path

import pytest

from dacformer.config import Config, load_config, save_config
from dacformer.data.dataset import Dataset
from dacformer.errors import UserError
from dacformer.notebook import (
    conditions_table,
    ensure_run,
    settings_table,
)


def test_ensure_run_trains_a_missing_run_once(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_config(config, tmp_path / "params.yaml")
    with pytest.raises(UserError, match="misspelt"):
        ensure_run(tmp_path / "mien", tmp_path / "params.yaml")
    mine = tmp_path / "mine"
    quick = ["training.steps=2", "training.sample_every=0", "training.select_best_by=nll"]  # there is no codec "tiny"
    run = ensure_run(mine, tmp_path / "params.yaml", [*quick, f"run={mine}"])
    assert "There is no run" in capsys.readouterr().out
    assert load_config(run / "config.yaml").training.steps == 2
    assert ensure_run(run, tmp_path / "no_such.yaml") == run
    checkpoint = run / "checkpoints" / "step_0000002"
    assert ensure_run(checkpoint, tmp_path / "no_such.yaml") == checkpoint


def test_tables_list_settings_and_conditions(config: Config, dataset: Dataset) -> None:
    settings = settings_table(config).data.set_index("setting")  # type: ignore[attr-defined]
    assert settings.loc["training.steps", "value"] == "4"
    assert "Peak rate" in settings.loc["training.learning_rate", "meaning"]
    assert not (settings == "").any(axis=None), "no blanks"
    rows = conditions_table(dataset.conditions).data.to_numpy().tolist()  # type: ignore[attr-defined]
    assert rows == [["pistons", "rate", "0.5", "4.5"], ["wind", "force", "0.1", "0.9"]]
