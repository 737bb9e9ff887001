"""YAML whose plain values are texts, so that what reads them decides what they are.

YAML guesses: `no` is False, 2024-11-24 a date, `6e-3` a text. As names of folders and classes the first two are texts,
as a learning rate the third is a number.
"""

import re
from typing import Any

import yaml
from yaml.composer import ComposerError

NOTHING = ("", "~", "null")
"""What stands for no value."""


MAX_DEPTH = 50
"""Deeper nesting is refused: settings have four levels, and hundreds take seconds to read."""
MAX_VALUES = 100_000
"""More, with all aliases written out, are refused."""
MAX_CHARACTERS = 1_000_000
"""Longer documents are refused: settings are a few thousand, and a million take seconds to read."""


class _BoundedLoader(yaml.SafeLoader):
    """Refuses deep nesting and keys that stand twice."""

    max_values, max_characters = 10_000_000, 100_000_000  # a recipe of hours of moved controls
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.depth == MAX_DEPTH:
            raise ComposerError(None, None, "it is nested too deeply", self.peek_event().start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in lines:
                problem = f"'{key.value}' stands twice, first in line {lines[key.value]}"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            lines[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


class _TextLoader(_BoundedLoader):
    """Reads plain values as text, which their settings turn into numbers."""

    max_values, max_characters = MAX_VALUES, MAX_CHARACTERS
    yaml_implicit_resolvers = {}


_TextLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(rf"^({'|'.join(NOTHING)})$"), ["~", "n", ""])
_TextLoader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])
_TextLoader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^([-+]?\.inf|\.nan)$"), [*"-+."])


def parse_yaml(text: str, loader: type[_BoundedLoader] = _TextLoader) -> Any:
    """Reads a document into dicts, lists, texts and None.

    Args:
        text: The document.
        loader: What makes the values of it, see `parse_typed_yaml`.

    Raises:
        yaml.YAMLError: It is not YAML, is too long or too deep, holds a key twice, or grows through its aliases.
    """
    if len(text) > loader.max_characters:
        raise yaml.YAMLError(f"it has {len(text):,} characters, more than the {loader.max_characters:,} that are read")
    reader = loader(text)
    node = reader.get_single_node()
    if node is None:
        return None
    _count(node, {}, loader.max_values)
    try:
        return reader.construct_document(node)
    except (AttributeError, ValueError, TypeError, OverflowError) as error:  # `!!timestamp soon`, `!!int x`
        raise yaml.YAMLError("a value in it is not of the type that its tag names") from error


def parse_typed_yaml(text: str) -> Any:
    """Reads a document whose plain values are of YAML's own types, as `yaml.safe_dump` writes them.

    Raises:
        yaml.YAMLError: As in `parse_yaml`.
    """
    return parse_yaml(text, _BoundedLoader)


def _count(node: yaml.Node, counts: dict[int, int], limit: int) -> int:
    """How many values a node stands for, its aliases written out; a few lines could make billions.

    Raises:
        ComposerError: It holds itself, or more than `limit`.
    """
    if id(node) not in counts:
        counts[id(node)] = limit  # for who meets it again inside itself
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            parts = node.value
        elif isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        counts[id(node)] = 1 + sum(_count(part, counts, limit) for part in parts)
    if counts[id(node)] > limit:
        raise ComposerError(None, None, "its aliases stand for themselves or for too much", node.start_mark)
    return counts[id(node)]


def yaml_problem(error: Exception) -> str:
    """What is wrong, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())
