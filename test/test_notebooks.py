"""The notebooks hold calls and prose, run from top to bottom as they are, and take parameters."""

import ast
import base64
import io
import os
import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import papermill
import pytest
import soundfile
import yaml

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ["Train.ipynb", "CKPT_DAC_AUDIO.ipynb"]
QUICK = ["training.steps=4", "training.validate_every=2", "training.sample_every=4", "training.sample_seconds=0.5"]

# What a notebook may not hold: algorithms live in the package.
FORBIDDEN = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.While)


def code_cells(name: str) -> list[Any]:
    return [cell for cell in nbformat.read(ROOT / name, as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_calls_and_prose(name: str) -> None:
    notebook = nbformat.read(ROOT / name, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    for cell in code_cells(name):
        assert cell.outputs == [] and cell.execution_count is None
        assert not [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, FORBIDDEN)], cell.source


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_first_code_is_the_parameters(name: str) -> None:
    first, *others = code_cells(name)
    assert first.metadata.tags == ["parameters"]
    assert not any("parameters" in cell.metadata.get("tags", []) for cell in others)
    assert all(isinstance(node, ast.Assign) for node in ast.parse(first.source).body)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as after cloning: the notebooks, `params/`, the tiny data set, and nothing trained."""
    for name in NOTEBOOKS:
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "params", tmp_path / "params")
    shutil.copytree(ROOT / "test" / "data", tmp_path / "test" / "data")
    # The kernel starts elsewhere, but is to run the package that is tested here.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return tmp_path


def execute(clone: Path, name: str, **parameters: Any) -> Any:
    return papermill.execute_notebook(
        clone / name, clone / f"out_{name}", parameters, cwd=clone, kernel_name="python3", progress_bar=False
    )


def sounds_by_cell(notebook: Any) -> dict[str, int]:
    """How many sounds each cell shows; every `<audio>` of a page must hold one that can be played and is not silent."""
    counts: dict[str, int] = {}
    for cell in notebook.cells:
        shown = [output.get("data", {}).get("text/html", "") for output in cell.get("outputs", [])]
        page = "".join(map("".join, shown))
        sources = re.findall(r'<audio controls[^>]* src="data:audio/flac;base64,([^"]+)"', page)
        assert len(sources) == page.count("<audio"), f"{cell.id}: a player without a sound"
        for source in sources:
            audio, rate = soundfile.read(io.BytesIO(base64.b64decode(source)))
            assert rate == 44100 and len(audio) > 0.1 * rate and np.abs(audio).max() > 1e-4, cell.id
        if sources:
            counts[cell.id] = len(sources)
    return counts


@pytest.mark.heavy
@pytest.mark.notebook
def test_train_runs_from_top_to_bottom(clone: Path) -> None:
    done = execute(clone, "Train.ipynb", overrides=QUICK, clips_per_class=1, seconds=0.5)
    assert (clone / "runs" / "sm" / "checkpoints" / "step_0000004").is_dir()
    assert sounds_by_cell(done) == {"listen-data": 4, "train": 4, "hear": 4}  # clips, samples, takes of four classes
    errors = [out.text for cell in done.cells for out in cell.get("outputs", []) if out.get("name") == "stderr"]
    assert not any("Warning" in text for text in errors), errors


@pytest.mark.heavy
@pytest.mark.notebook
def test_ckpt_runs_on_its_own_and_trains_what_is_missing(clone: Path) -> None:
    done = execute(clone, "CKPT_DAC_AUDIO.ipynb", overrides=QUICK, seconds=0.5)
    assert {path.name for path in (clone / "runs" / "sm" / "takes").iterdir()} == {
        "take", "take.dac", "take.wav", "kept.wav",
    }  # fmt: skip
    assert sounds_by_cell(done) == {
        "take": 1, "decode": 2, "sweep": 10, "morph": 1, "go-on": 6, "loop": 2, "stream": 1, "live-take": 1,
    }  # fmt: skip
    outputs = [out for cell in done.cells for out in cell.get("outputs", [])]
    assert sum("application/vnd.jupyter.widget-view+json" in out.get("data", {}) for out in outputs) >= 2  # both panels


@pytest.mark.heavy
@pytest.mark.notebook
def test_papermill_takes_other_settings_and_another_run(clone: Path) -> None:
    """What the README shows: `papermill Train.ipynb out.ipynb -p params_file FILE`, then play that run."""
    settings = yaml.safe_load((clone / "params" / "params_sm.yaml").read_text())
    settings["run"] = "runs/other"
    settings["training"] |= {"steps": 2, "sample_every": 0}
    (clone / "other.yaml").write_text(yaml.safe_dump(settings))
    execute(clone, "Train.ipynb", params_file="other.yaml", clips_per_class=1, seconds=0.2)
    done = execute(clone, "CKPT_DAC_AUDIO.ipynb", run="runs/other", which="last", class_name="wind", seconds=0.3)
    printed = "".join(out.text for cell in done.cells for out in cell.get("outputs", []) if out.get("name") == "stdout")
    assert "'class': 'wind', 'strength': Curve" in printed and "There is no run" not in printed
