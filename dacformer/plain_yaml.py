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


class _TextLoader(yaml.SafeLoader):
    """Reads plain values as text, which their settings turn into numbers; refuses keys that stand twice."""

    yaml_implicit_resolvers = {}
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


_TextLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(rf"^({'|'.join(NOTHING)})$"), ["~", "n", ""])
_TextLoader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])
_TextLoader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^([-+]?\.inf|\.nan)$"), [*"-+."])


def parse_yaml(text: str) -> Any:
    """Reads a document into dicts, lists, texts and None.

    Raises:
        yaml.YAMLError: It is not YAML, is too long or too deep, holds a key twice, or grows through its aliases.
    """
    if len(text) > MAX_CHARACTERS:
        raise yaml.YAMLError(f"it has {len(text):,} characters, more than the {MAX_CHARACTERS:,} that are read")
    loader = _TextLoader(text)
    node = loader.get_single_node()
    if node is None:
        return None
    _count(node, {})
    return loader.construct_document(node)


def _count(node: yaml.Node, counts: dict[int, int]) -> int:
    """How many values a node stands for, its aliases written out; a few lines could make billions.

    Raises:
        ComposerError: It holds itself, or more than `MAX_VALUES`.
    """
    if id(node) not in counts:
        counts[id(node)] = MAX_VALUES  # for who meets it again inside itself
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            parts = node.value
        elif isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        counts[id(node)] = 1 + sum(_count(part, counts) for part in parts)
    if counts[id(node)] > MAX_VALUES:
        raise ComposerError(None, None, "its aliases stand for themselves or for too much", node.start_mark)
    return counts[id(node)]


def yaml_problem(error: Exception) -> str:
    """What is wrong, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())
