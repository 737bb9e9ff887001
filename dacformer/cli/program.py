"""The program `dacformer`: joins the commands, and turns errors into one line and an exit code."""

import io
import os
import platform
import signal
import sys
import warnings
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dacformer import __version__
from dacformer.cli.commands import decode, encode, info, init, textures, train
from dacformer.cli.evaluate import evaluate, evaluate_codec
from dacformer.cli.generate import generate
from dacformer.errors import UserError
from dacformer.signals import ending_cleanly
from dacformer.terminal import show_log

GOES_ON = ("encode", "textures", "evaluate")
"""Commands that continue where they were stopped when they are called again."""
CTRL_C = 128 + signal.SIGINT
"""Exit code that shells use for a command that was ended by Ctrl-C."""


class _Commands(TyperGroup):
    """Group of all commands. Ctrl-C ends each with one line and with the exit code that shells use."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SystemExit as end:
            if end.code != CTRL_C:
                raise
            stopped = "Stopped." + (" The same command goes on from here." if ctx.invoked_subcommand in GOES_ON else "")
        print(stopped, file=sys.stderr)  # only now: progress bars close when the error's frames are released
        raise SystemExit(CTRL_C)


app = typer.Typer(
    cls=_Commands,
    help="From a folder of recordings to a sound that never stops.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"dacformer {__version__} (Python {platform.python_version()}, torch {version('torch')})")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, for reports.")
    ] = False,
) -> None:
    """From a folder of recordings to a sound that never stops."""


for command in (encode, decode, textures, train, init, generate, evaluate, evaluate_codec, info):
    app.command()(command)


def main() -> None:
    """Run the command line. A user's mistake prints one line and exits with code 2."""
    show_log()
    warnings.showwarning = lambda message, *rest, **more: print(f"warning: {message}", file=sys.stderr)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message="Glyph .* missing")  # matplotlib's font lacks a character of a class name
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name may have characters that it cannot encode
            stream.reconfigure(errors="replace")
    try:
        try:
            with ending_cleanly():
                app(prog_name="dacformer")
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(1) from None
    except MemoryError:
        print("error: There is not enough memory for this.", file=sys.stderr)
        raise SystemExit(2) from None
    except (UserError, OSError) as error:  # OSError: a file cannot be written, without a better message
        print(f"error: {' '.join(str(error).split(chr(10)))}", file=sys.stderr)
        raise SystemExit(2) from None
