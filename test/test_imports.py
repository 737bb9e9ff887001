"""Data goes one way, and so do imports."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dacformer"

LEFT = {"arguments", "config", "errors", "extras", "files", "signals"}
MAY_IMPORT = {
    "errors": set(),
    "extras": {"errors"},
    "workspace": {"errors"},
    "arguments": {"errors"},
    "files": {"errors"},
    "signals": set(),
    "terminal": set(),
    "optim": set(),
    "plain_yaml": set(),
    "memory": set(),
    "jit": set(),
    "hardware": set(),
    "config": {"errors", "files", "plain_yaml", "workspace"},
    "decoding": LEFT,
    "audio": LEFT | {"decoding"},
    "textures": LEFT,
    "display": LEFT,
    "codec": LEFT | {"terminal", "optim", "memory", "jit", "audio", "textures"},
    "conditions": LEFT,
    "data": LEFT | {"audio", "textures", "codec", "conditions"},
    "model": LEFT | {"jit"},
    "checkpoint": LEFT | {"conditions", "data.dataset", "model"},
    "training": LEFT | {"optim", "hardware", "memory", "conditions", "data", "model", "checkpoint"},
    "generation": LEFT
    | {"plain_yaml", "memory", "decoding", "audio", "display", "codec", "conditions", "data", "model", "checkpoint"},
}
MAY_IMPORT["live"] = MAY_IMPORT["generation"] | {"generation"}
EVERYTHING = {*MAY_IMPORT}
MAY_IMPORT |= {
    "evaluation": EVERYTHING,
    "notebook": EVERYTHING | {"evaluation"},
    "describe": EVERYTHING,
    "__main__": {"cli"},
    "cli": EVERYTHING | {"evaluation", "notebook", "describe", "__version__"},
    "__init__": EVERYTHING | {"evaluation", "notebook"},
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(tree: ast.AST) -> set[str]:
    """The full names of all that is imported, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import hides where it goes"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def backward(stage: str, names: set[str]) -> list[str]:
    """Those of the names that a stage must not import."""
    allowed = MAY_IMPORT[stage] | {stage}
    inside = {name.removeprefix("dacformer.") for name in names if name.startswith("dacformer.")}
    return sorted(name for name in inside if not any(f"{name}.".startswith(f"{one}.") for one in allowed))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    stage = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert not backward(stage, imports(ast.parse(path.read_text())))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_codec_imports_dac(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imports(ast.parse(path.read_text()))}
    assert "codec" in path.relative_to(PACKAGE).parts or not roots & {"dac", "audiotools"}


@pytest.mark.parametrize(
    ("stage", "line"),
    [
        ("model", "from dacformer import audio"),
        ("codec", "import dacformer.data.labels"),
        ("generation", "from dacformer.training import train"),
        ("data", "def f():\n    from dacformer.model import DACFormer"),
    ],
)
def test_an_arrow_backwards_is_seen(stage: str, line: str) -> None:
    assert backward(stage, imports(ast.parse(line)))
