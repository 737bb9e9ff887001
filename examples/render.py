"""Renders a take whose parameter rises from its lowest to its highest value, with a picture of both.

    python examples/render.py runs/med wind.wav --class-name wind

Writes `wind.wav`, which carries its recipe (`dacformer info wind.wav`), and `wind.png`.
"""

from pathlib import Path

import typer

import dacformer
from dacformer import Curve


def main(run: Path, out: Path, class_name: str = "", seconds: float = 8.0, seed: int = 0) -> None:
    """Render a take of CLASS_NAME (the run's first class if not given) into OUT: .wav, .flac or .dac."""
    synth = dacformer.load(run)
    name = class_name or synth.conditions.classes[0]
    ranges = {key: values for key, values in synth.conditions.parameters.items() if name in values.classes}
    curves = {key: Curve([(0, values.low), (seconds, values.high)]) for key, values in ranges.items()}

    take = synth.generate(seconds, {"class": name, **curves}, seed, progress=True)
    print(take.save(out))
    take.plot().savefig(out.with_suffix(".png"))
    print(out.with_suffix(".png"))


if __name__ == "__main__":
    try:
        typer.run(main)
    except dacformer.UserError as error:
        raise SystemExit(f"error: {error}") from None
