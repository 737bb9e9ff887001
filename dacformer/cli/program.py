"""The commands as one program: how it is called, and how it ends."""

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
"""Commands that go on where they were stopped, when they are given once more."""
CTRL_C = 128 + signal.SIGINT
"""What shells give a command that Ctrl-C has ended."""


class _Commands(TyperGroup):
    """The commands; Ctrl-C ends each of them in one line, with the exit code that shells give it."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SystemExit as end:
            if end.code != CTRL_C:
                raise
            stopped = "Stopped." + (" The same command goes on from here." if ctx.invoked_subcommand in GOES_ON else "")
        print(stopped, file=sys.stderr)  # now that the error and its frames are gone, progress bars have ended
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
    """Runs the command line; a mistake of the user's is one clear line and exit code 2."""
    show_log()
    warnings.showwarning = lambda message, *rest, **more: print(f"warning: {message}", file=sys.stderr)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message="Glyph .* missing")  # of matplotlib's font, in a class's name
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # it may be closed, and a name may hold what it cannot encode
            stream.reconfigure(errors="replace")
    try:
        try:
            with ending_cleanly():
                app(prog_name="dacformer")
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:  # whoever read has had enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(1) from None
    except MemoryError:
        print("error: There is not enough memory for this.", file=sys.stderr)
        raise SystemExit(2) from None
    except (UserError, OSError) as error:  # what cannot be written, where that is not said better
        print(f"error: {' '.join(str(error).split(chr(10)))}", file=sys.stderr)
        raise SystemExit(2) from None
