"""Makes variations of one sound for a game: short files, no two alike, and a table of them.

    python examples/variations.py runs/med sounds --class-name hits --count 16 --seconds 1.5

Each file draws the class's parameters evenly from the range that was trained, and ends in a short fade.
"""

import csv
from pathlib import Path

import numpy as np
import typer

import dacformer
from dacformer.audio import write_audio

FADE_SECONDS = 0.1


def main(run: Path, folder: Path, class_name: str = "", count: int = 8, seconds: float = 2.0, seed: int = 0) -> None:
    """Write COUNT variations of CLASS_NAME (the run's first class if not given) into FOLDER."""
    synth = dacformer.load(run)
    name = class_name or synth.conditions.classes[0]
    ranges = {key: values for key, values in synth.conditions.parameters.items() if name in values.classes}
    rng = np.random.default_rng(seed)
    drawn = [{key: float(rng.uniform(each.low, each.high)) for key, each in ranges.items()} for _ in range(count)]
    takes = synth.generate_batch(seconds, [{"class": name, **parameters} for parameters in drawn], seed)

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["file", *ranges])
        table.writeheader()
        for number, (take, parameters) in enumerate(zip(takes, drawn, strict=True)):
            fade = np.clip(np.arange(len(take.audio), 0, -1) / (FADE_SECONDS * take.sample_rate), 0, 1)
            path = write_audio(folder / f"{name}_{number:02d}.wav", take.audio * fade, take.sample_rate)
            table.writerow({"file": path.name, **parameters})
            print(path)


if __name__ == "__main__":
    try:
        typer.run(main)
    except dacformer.UserError as error:
        raise SystemExit(f"error: {error}") from None
