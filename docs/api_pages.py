"""Makes the pages of the API reference from the tree of the package: a hook of mkdocs.yml."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
TITLE = "API reference"


def pages() -> dict[str, str]:
    """The page of each public module, by its dotted name, in the order of the tree."""
    found = {}
    for path in sorted((ROOT / "dacformer").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if not parts[-1].startswith("_") or parts[-1] == "__init__":
            found[name] = f"reference/{name}.md"
    return dict(sorted(found.items()))


def on_config(config: MkDocsConfig) -> None:
    """Put the pages into the navigation, grouped by package."""
    groups: dict[str, list[dict[str, str]]] = {}
    for name, page in pages().items():
        package = ".".join(name.split(".")[:2]) if (ROOT / "dacformer" / (name + ".").split(".")[1]).is_dir() else ""
        groups.setdefault(package or "dacformer", []).append({name: page})
    entry = next(entry for entry in config.nav or [] if TITLE in entry)
    entry[TITLE] = [{package: modules} for package, modules in groups.items()]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages, which no folder holds: each has the docstrings of one module."""
    for name, page in pages().items():
        files.append(File.generated(config, page, content=f"# `{name}`\n\n::: {name}\n"))
