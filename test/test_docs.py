"""The documentation: its page of sounds is made from a run, and its site has no broken link."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from dacformer import Synthesizer

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def make_sounds() -> ModuleType:
    """The script `docs/make_sounds.py`."""
    spec = importlib.util.spec_from_file_location("make_sounds", ROOT / "docs" / "make_sounds.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["make_sounds"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def glossary_terms() -> list[str]:
    """The rows of the glossary's tables of terms, which come after the table of symbols."""
    tables = (ROOT / "docs" / "glossary.md").read_text().partition("\n## Sound and codes\n")[2]
    return [line for line in tables.splitlines() if line.startswith("| ") and not line.startswith(("| term", "| ---"))]


def glossary_path(row: str) -> str:
    """The last column of a row: a path in `dacformer/`."""
    place = re.search(r"\| `([^`]+)` \|$", row)
    assert place, f"no path in: {row}"
    return place[1]


@pytest.mark.parametrize("row", glossary_terms(), ids=lambda row: row.split("|")[1].strip())
def test_glossary_names_a_file_that_exists(row: str) -> None:
    assert (ROOT / "dacformer" / glossary_path(row)).exists()


def test_glossary_lists_terms_once() -> None:
    terms = [row.split("|")[1].strip() for row in glossary_terms()]
    assert len(terms) > 80 and len(set(terms)) == len(terms)


def test_sounds_page_has_four_sounds_of_each_class_with_recipes(
    make_sounds: ModuleType, synth: Synthesizer, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds" / "old.ogg").write_bytes(b"")
    page = make_sounds.write_page(tmp_path, synth, trained, 1.0).read_text()
    links = re.findall(r"^\| \[.+?\]\((.+?)\) \| <audio [^>]*src=\"(.+?)\"></audio> \| `.+` \|$", page, re.MULTILINE)
    assert [link for link, source in links if link == source] == [
        f"sounds/{name}_{number}.ogg" for name in ("pistons", "wind") for number in range(4)
    ]
    assert {path.name for path in (tmp_path / "sounds").iterdir()} == {Path(link).name for link, _ in links}
    for link, _ in links:
        audio, rate = soundfile.read(tmp_path / link)
        assert rate == 48_000 and abs(len(audio) / rate - 1) < 0.02 and np.abs(audio).max() > 0.01


def test_sounds_page_says_how_each_generated_sound_is_made_again(
    make_sounds: ModuleType, synth: Synthesizer, trained: Path, tmp_path: Path
) -> None:
    page = make_sounds.write_page(tmp_path, synth, Path("runs/tiny"), 1.0).read_text()
    assert "`dacformer generate runs/tiny --seconds 1 --control class=wind --control strength=0:0.1,1:0.9`" in page
    take = synth.generate(1.0, {"class": "wind", "strength": 0.5}, seed=0)
    made = list(make_sounds.examples(synth, Path("runs/tiny"), make_sounds.TEXTURES["wind"], 1.0))[2]
    assert np.array_equal(made.audio, take.audio) and made.recipe.endswith("--control strength=0.5")


@pytest.mark.heavy
def test_site_is_built_strictly_and_loads_nothing_from_another_host(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*.html")}
    assert {"index.html", "sounds.html", "reference/dacformer.html", "reference/dacformer.textures.html"} <= set(pages)
    assert 'id="dacformer.textures.synthesize"' in pages["reference/dacformer.textures.html"]
    loaded = (
        r"<(?:script|img|audio|source|iframe|link(?! rel=\"?(?:canonical|next|prev)))\b[^>]*\b(?:src|href)=\"?https?:"
    )
    assert not [name for name, page in pages.items() if re.search(loaded, page)]
    assert not [
        path for path in tmp_path.rglob("*.css") if re.search(r"(?:url\(|@import )['\"]?https?:", path.read_text())
    ]
