"""What each entry of the package imports, and what it leaves alone, in a fresh Python."""

import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Configure

PAGE = {"IPython", "anywidget", "ipywidgets", "jupyter_client", "jupyterlab", "traitlets"}
FORBIDDEN = {
    "dacformer.conditions.labels": {"torch", "pandas", "dacformer.model", "dacformer.codec"},
    "dacformer.model": {"accelerate", "dac", "pandas", "soundfile", "tensorboard", "dacformer.codec", "dacformer.data"},
    "dacformer.checkpoint": PAGE | {"accelerate", "dac", "matplotlib", "sklearn", "tensorboard", "dacformer.training"},
    "dacformer.generation.sampling": PAGE
    | {"accelerate", "dac", "matplotlib", "pandas", "soundfile", "dacformer.codec", "dacformer.data"},
    "dacformer.evaluation.rollout, dacformer.evaluation.samples": PAGE | {"dacformer.notebook"},
}
"""What an entry must not bring: packages, and parts of this one."""
MODEL_NEEDS = {"config", "errors", "files", "jit", "model", "plain_yaml", "workspace"}
"""The parts of this package that `dacformer.model` imports: settings, and what they are read with."""


def modules_after(code: str, *words: str) -> set[str]:
    """The modules that a fresh Python has imported after it ran this code."""
    listing = "\nimport sys\nprint()\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code + listing, *words], capture_output=True, text=True, check=True)
    return set(done.stdout.rstrip().rpartition("\n")[2].split())


@pytest.mark.heavy
@pytest.mark.parametrize("entry", FORBIDDEN)
def test_entry_imports_nothing_beyond_its_budget(entry: str) -> None:
    modules = modules_after(f"import {entry}")
    assert set(entry.split(", ")) <= modules
    assert not FORBIDDEN[entry] & modules
    if entry == "dacformer.model":
        assert {name.split(".")[1] for name in modules if name.startswith("dacformer.")} == MODEL_NEEDS


def test_train_command_on_a_headless_node_imports_no_page_and_no_plots(configure: Configure, tmp_path: Path) -> None:
    config = configure(tmp_path / "run", steps=1, validate_every=1, select_best_by="nll")
    (tmp_path / "params.yaml").write_text(config.model_dump_json())  # JSON is YAML
    code = "import sys; from dacformer.cli import app; app(['train', sys.argv[1]], standalone_mode=False)"
    modules = modules_after(code, str(tmp_path / "params.yaml"))
    assert "dacformer.training.trainer" in modules and (tmp_path / "run" / "checkpoints").is_dir()
    assert not (PAGE | {"dac", "matplotlib", "sklearn", "dacformer.notebook"}) & modules
