"""The command that trains a codec: `python -m dacformer.codec.train PARAMS`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from dacformer.codec.training.config import CodecTrainingConfig
from dacformer.codec.training.trainer import train
from dacformer.config import load_config
from dacformer.errors import UserError
from dacformer.signals import ending_cleanly
from dacformer.terminal import show_log


def main(
    params: Annotated[Path, typer.Argument(help="Settings, such as params/codec_small.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, such as steps=200.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the run's last saved state.")] = False,
) -> None:
    """Trains a codec from folders of recordings."""
    show_log()
    try:
        with ending_cleanly():
            path = train(load_config(params, overrides, CodecTrainingConfig), resume)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(f"The codec is {path}")


if __name__ == "__main__":
    typer.run(main)
