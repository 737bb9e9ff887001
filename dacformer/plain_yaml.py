"""YAML whose plain values are texts, so that what reads them decides what they are.

YAML guesses: `no` is False, 2024-11-24 a date, `6e-3` a text. As names of folders and classes the first two are texts,
as a learning rate the third is a number.
"""

import re
from typing import Any

import yaml

NOTHING = ("", "~", "null")
"""What stands for no value."""


class _TextLoader(yaml.SafeLoader):
    """Reads plain values as text, which their settings turn into numbers, and refuses a key that stands twice."""

    yaml_implicit_resolvers = {}

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
        yaml.YAMLError: It is not YAML, or holds a key twice.
        RecursionError: It is nested too deeply.
    """
    return yaml.load(text, _TextLoader)


def yaml_problem(error: Exception) -> str:
    """What is wrong, in one line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())
