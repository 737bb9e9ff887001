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


MAX_CHARACTERS = 1_000_000
"""Longer documents are refused: settings are a few thousand, and a million take seconds to read."""


class _TextLoader(yaml.SafeLoader):
    """Reads plain values as text, which their settings turn into numbers; refuses aliases and keys that stand twice.

    An alias stands for a part that may hold ten aliases, and so on: a few lines could fill the memory.
    """

    yaml_implicit_resolvers = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            problem = f"the alias *{event.anchor} is not read. Write out what it stands for"
            raise ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)

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
_TextLoader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^([-+]?\.inf|\.nan)$"), [*"-+."])


def parse_yaml(text: str) -> Any:
    """Reads a document into dicts, lists, texts and None.

    Raises:
        yaml.YAMLError: It is not YAML, is too long, or holds an alias or a key twice.
        RecursionError: It is nested too deeply.
    """
    if len(text) > MAX_CHARACTERS:
        raise yaml.YAMLError(f"it has {len(text):,} characters, more than the {MAX_CHARACTERS:,} that are read")
    return yaml.load(text, _TextLoader)


def yaml_problem(error: Exception) -> str:
    """What is wrong, in one line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())
