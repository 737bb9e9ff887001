"""Plays for ever, steered by OSC messages such as `/class rain` and `/density 0.8`.

    python examples/steer_by_osc.py runs/med | aplay -f S16_LE -r 44100

The sound goes to standard output, as 16-bit samples of one channel; whoever reads it sets the pace. In place of
`aplay`: `ffplay -f s16le -ar 44100 -` or `sox -t raw -r 44100 -e signed -b 16 -c 1 - -d`.
Needs `pip install "dacformer[live]"`.
"""

import sys
from pathlib import Path

import numpy as np
import typer

import dacformer
from dacformer.live.midi_osc import LiveControls, LiveMapping, ManualControls


def main(run: Path, port: int = 9000, seed: int = 0) -> None:
    """Play RUN and listen for OSC at PORT (0 takes a free one) of this machine."""
    synth = dacformer.load(run)
    controls = ManualControls(synth.conditions)
    with LiveControls(controls, synth.conditions, LiveMapping(osc_port=port)) as listener:
        print(f"OSC port {listener.listen_osc()}, {synth.info.sample_rate} Hz", file=sys.stderr, flush=True)
        for chunk in synth.stream(controls, chunk_seconds=0.1, seed=seed):
            samples = (np.clip(chunk, -1, 1) * 32767).astype("<i2")
            sys.stdout.buffer.write(samples.tobytes())
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        typer.run(main)
    except dacformer.UserError as error:
        raise SystemExit(f"error: {error}") from None
