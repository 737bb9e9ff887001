"""The documentation: its page of sounds is made from a run, and its site has no broken link."""

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import typer

from dacformer import Synthesizer
from dacformer.cli import app
from dacformer.config import load_config
from dacformer.evaluation.report import SECTIONS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
MADE_BY_SCRIPT = "sounds.md"
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


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


def code_blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language, without their indentation."""
    found = FENCE.findall(page.read_text())
    return [re.sub(f"^{indent}", "", code, flags=re.MULTILINE) for indent, kind, code in found if kind == language]


def documented_commands() -> list[str]:
    """Every `dacformer` command on any page, in a block or within a sentence."""
    blocks = [block for page in PAGES for language in ("bash", "text") for block in code_blocks(page, language)]
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    inline = [" ".join(code.split()) for page in PAGES for code in re.findall(r"`(dacformer [^`]+)`", page.read_text())]
    return sorted({line for line in lines + inline if re.match(r"dacformer [a-z]+ (?!.*\.\.\. )", line)})


@pytest.mark.parametrize("line", documented_commands())
def test_documented_command_has_options_and_settings_that_exist(line: str) -> None:
    name, *words = shlex.split(line, comments=True)[1:]
    commands = typer.main.get_command(app)
    with commands.make_context("dacformer", [name]) as context:
        command = commands.get_command(context, name)  # pyright: ignore[reportAttributeAccessIssue]
        assert command is not None, f"there is no command {name}"
        parsed = command.make_context(name, words.copy(), parent=context).params
    if name == "train":
        overrides = [word.replace("=...", "=0.5") for word in parsed["overrides"] or []]
        load_config(ROOT / words[0] if "/" in words[0] else words[0], overrides)
    if name == "evaluate":
        assert set(filter(None, parsed["only"].split(","))) <= set(SECTIONS)


@pytest.mark.parametrize("page", [page for page in PAGES if code_blocks(page, "python")], ids=lambda page: page.name)
def test_python_blocks_are_python(page: Path) -> None:
    for block in code_blocks(page, "python"):
        ast.parse(block)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != MADE_BY_SCRIPT], ids=lambda page: page.name)
def test_prose_is_wrapped_at_100_columns(page: Path) -> None:
    """Code blocks, tables, headings and links are left alone."""
    lines = FENCE.sub("", page.read_text()).splitlines()
    assert not [line for line in lines if len(line) > 100 and not re.match(r"[|#<]", line) and "](" not in line]


def test_readme_has_at_most_130_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


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
