"""The command line: parse, call, print."""

from dacformer.cli.program import app, main

__all__ = ["app", "main"]
