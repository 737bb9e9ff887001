"""One training for all: the same judge and samples from Python, the command line and the notebooks."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import dacformer
from dacformer.checkpoint import find_checkpoint, list_checkpoints, read_metadata
from dacformer.config import Config, load_config, save_config
from dacformer.data.dataset import DatasetInfo
from dacformer.errors import UserError
from dacformer.evaluation import training
from dacformer.notebook import ensure_run, runs

Configure = Callable[..., Config]
QUICK = {"steps": 1, "sample_every": 1, "sample_seconds": 0.05}


def test_python_and_notebooks_train_with_one_function() -> None:
    assert dacformer.train is training.train is runs.train


@pytest.mark.slow
def test_by_default_the_best_is_chosen_by_what_is_played_and_samples_are_written(
    configure: Configure, tmp_path: Path
) -> None:
    config = configure(tmp_path / "run", **QUICK)
    save_config(config, tmp_path / "params.yaml")
    other = tmp_path / "other"
    for run in (dacformer.train(config), ensure_run(other, tmp_path / "params.yaml", [f"run={other}"])):
        assert "rollout_error" in read_metadata(find_checkpoint(run)).metrics
        assert (run / "samples" / "step_0000001" / "wind.wav").is_file()


def test_a_setting_turns_the_judge_off(configure: Configure, tmp_path: Path) -> None:
    config = configure(tmp_path / "run", steps=1, select_best_by="nll")
    run = dacformer.train(config, selection_metric=lambda _: pytest.fail("was asked"))
    assert "rollout_error" not in read_metadata(find_checkpoint(run)).metrics


@pytest.fixture
def without_codec(dataset_path: Path, tmp_path: Path) -> Path:
    """A data set whose codec is not at hand."""
    path = Path(shutil.copytree(dataset_path, tmp_path / "set"))
    info = load_config(path / "dataset.yaml", kind=DatasetInfo)
    save_config(info.model_copy(update={"codec_name": str(tmp_path / "gone.safetensors")}), path / "dataset.yaml")
    return path


def test_a_codec_that_cannot_be_had_is_said_before_the_first_step(
    configure: Configure, tmp_path: Path, without_codec: Path
) -> None:
    config = configure(tmp_path / "run", data={"path": without_codec}, **QUICK)
    with pytest.raises(UserError, match=r"no codec '.*gone.safetensors'.*training\.select_best_by=nll$"):
        dacformer.train(config)
    assert not config.run.exists()


def test_a_codec_that_is_not_needed_costs_one_warning(
    configure: Configure, tmp_path: Path, without_codec: Path
) -> None:
    config = configure(tmp_path / "run", data={"path": without_codec}, select_best_by="nll", **QUICK)
    with pytest.warns(UserWarning, match=r"no codec '.*gone.safetensors'.* the training writes no samples\.$") as said:
        dacformer.train(config)
    assert len(said) == 1 and len(list_checkpoints(config.run)) == 1 and not (config.run / "samples").exists()


def test_a_codec_of_other_weights_is_said_before_the_first_step(
    configure: Configure, tmp_path: Path, dataset_path: Path
) -> None:
    path = Path(shutil.copytree(dataset_path, tmp_path / "set"))
    info = load_config(path / "dataset.yaml", kind=DatasetInfo)
    save_config(info.model_copy(update={"codec": "small-0123456789abcdef"}), path / "dataset.yaml")
    config = configure(tmp_path / "run", data={"path": path}, **QUICK)
    with pytest.raises(UserError, match="is of small-0123456789abcdef, but 'small' is small-"):
        dacformer.train(config)
    assert not config.run.exists()
