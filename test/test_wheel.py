"""The wheel works outside of a clone, with the core's dependencies only."""

import os
import re
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import dacformer

ROOT = Path(__file__).parents[1]


def required_by(requirements: list[Requirement]) -> set[str]:
    """The names of the installed distributions that these need, theirs included."""
    found: set[tuple[str, str]] = set()
    todo = [(need.name, extra) for need in requirements for extra in ["", *need.extras]]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for need in map(Requirement, distribution(name).requires or []):
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                todo += [(need.name, each) for each in ["", *need.extras]]
    return {re.sub(r"[-_.]+", "-", name).lower() for name, _ in found}


def top_level(package: Distribution) -> set[Path]:
    """The files and folders that it puts into site-packages."""
    home = Path(str(package.locate_file("")))
    parts = {Path(file).parts[0] for file in package.files or []} - {"..", "__pycache__"}
    return {home / part for part in parts}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel, and of this one only what the wheel requires without extras."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, ROOT], check=True
    )
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    subprocess.run([*pip, "--python", python, "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    (metadata,) = site.glob("dacformer-*.dist-info/METADATA")
    needs = [Requirement(line) for line in re.findall(r"^Requires-Dist: (.*)$", metadata.read_text(), re.MULTILINE)]
    core = [need for need in needs if need.marker is None or "extra" not in str(need.marker)]
    for name in required_by(core):
        for path in top_level(distribution(name)):
            if not (site / path.name).exists():
                (site / path.name).symlink_to(path)
    return folder / "env"


def run(environment: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs Python, or a command of the environment, in a folder, without a way back to the clone."""
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = [environment / "bin" / words[0], *words[1:]]
    return subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, check=False)


def checked(environment: Path, folder: Path, *words: str) -> str:
    done = run(environment, folder, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.heavy
def test_wheel_makes_textures_trains_and_generates_outside_of_the_clone(environment: Path, tmp_path: Path) -> None:
    where = checked(environment, tmp_path, "python", "-c", "import dacformer; print(dacformer.__file__)")
    assert Path(where.strip()).is_relative_to(environment)
    assert f"dacformer {dacformer.__version__} " in checked(environment, tmp_path, "dacformer", "--version")
    sizes = ["--values", "2", "--takes", "2", "--seconds", "2", "--validation", "0.25"]
    checked(environment, tmp_path, "dacformer", "textures", "data/tiny", "--classes", "pistons,wind", *sizes)
    settings = ["data.path=data/tiny", "data.segment_frames=48", "run=runs/tiny", "training.steps=4"]
    settings += ["training.validate_every=2", "training.sample_every=4", "training.sample_seconds=0.5"]
    checked(environment, tmp_path, "dacformer", "train", "sm", *settings)
    checked(environment, tmp_path, "dacformer", "generate", "runs/tiny", "--seconds", "0.5", "--out", "x.wav")
    assert "0.50 s" in checked(environment, tmp_path, "dacformer", "info", "x.wav")


@pytest.mark.heavy
def test_wheel_writes_a_workspace_that_equals_the_clone(environment: Path, tmp_path: Path) -> None:
    files = checked(environment, tmp_path, "dacformer", "init", "work").split()
    assert len(files) == 7 + sum(path.is_file() for path in (ROOT / "test" / "data").rglob("*"))
    assert all((tmp_path / file).read_bytes() == (ROOT / Path(file).relative_to("work")).read_bytes() for file in files)
    quick = ["training.steps=2", "training.validate_every=2", "training.sample_every=0"]
    checked(environment, tmp_path / "work", "dacformer", "train", "sm", *quick)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("extra", "code"),
    [
        ("notebook", "import dacformer.notebook"),
        ("live", "from dacformer.extras import require_extra\nwith require_extra('live'): import mido"),
    ],
)
def test_core_names_the_missing_extra(environment: Path, tmp_path: Path, extra: str, code: str) -> None:
    done = run(environment, tmp_path, "python", "-c", code)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("dacformer.errors.UserError: This needs ")
    assert done.stderr.rstrip().endswith(f'which is not installed: pip install "dacformer[{extra}]"')
