"""What moves in a notebook: live plots, sounds side by side, sliders.

Sounds and pictures are put into the page as HTML, so that a saved notebook still plays without a kernel.
"""

import html
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
from IPython.display import DisplayHandle
from matplotlib.figure import Figure

from dacformer.checkpoint import Checkpoint
from dacformer.codec import Codec, load_codec
from dacformer.conditions.labels import Conditions
from dacformer.config import Config
from dacformer.data.dataset import Dataset, evenly_spaced
from dacformer.display.audio_plots import plot_sounds
from dacformer.display.html import audio_html, figure_html
from dacformer.errors import UserError
from dacformer.evaluation.references import load_reference_clip
from dacformer.evaluation.samples import SampleWriter
from dacformer.generation.controls import Controls, Curve
from dacformer.generation.synthesizer import Synthesizer
from dacformer.generation.take import Take
from dacformer.notebook.plots import plot_training
from dacformer.training.metrics import read_metrics


@dataclass(frozen=True)
class AudioGrid:
    """Sounds side by side: in a notebook, a spectrogram and a player for each.

    Attributes:
        sounds: `(N,)` float32 by title.
        sample_rate: In Hz.
        columns: Sounds in a row.
    """

    sounds: Mapping[str, np.ndarray]
    sample_rate: int
    columns: int = 4

    def plot(self) -> Figure:
        """The spectrograms alone, as one picture for print."""
        return plot_sounds(dict(self.sounds), self.sample_rate, self.columns)

    def _repr_html_(self) -> str:
        metadata_by_path = [
            f'<div style="min-width: 0">{figure_html(plot_sounds({title: audio}, self.sample_rate))}'
            f"{audio_html(audio, self.sample_rate)}</div>"
            for title, audio in self.sounds.items()
        ]
        columns = f"repeat({min(self.columns, len(self.sounds))}, minmax(160px, 300px))"
        style = f"display: grid; grid-template-columns: {columns}; gap: 10px; overflow-x: auto"
        return f'<div style="{style}">{"".join(metadata_by_path)}</div>'


class LivePlot:
    """Curves that grow while a model trains: give it to one `train` as `on_metrics`.

    Attributes:
        figure: The picture as it was last drawn; None before the first.
    """

    def __init__(self, config: Config, every_seconds: float = 2.0) -> None:
        """Prepares.

        Args:
            config: Of the training.
            every_seconds: Draw at most this often, and never for more than a twentieth of the time.
        """
        self.figure: Figure | None = None
        self._config = config
        self._every_seconds = every_seconds
        self._handle = DisplayHandle()
        self._metrics: list[dict[str, float]] = []
        self._speed = 0.0  # frames per second
        self._next_time = 0.0

    def __call__(self, line: dict[str, float]) -> None:
        """Hears of a step or of a validation; each validation is drawn at once."""
        if self.figure is None:  # a resumed run has a past; the line itself is in the file already
            self._metrics = read_metrics(self._config.run) or [line]
        else:
            self._metrics.append(line)
        self._speed = line.get("frames_per_second", self._speed)
        if "val_nll" in line or time.monotonic() >= self._next_time:
            self._draw(int(line["step"]))

    def _draw(self, step: int) -> None:
        started = time.monotonic()
        show = self._handle.display if self.figure is None else self._handle.update
        self.figure = plot_training(self._metrics, self._status(step))
        show(self.figure)
        finished = time.monotonic()
        self._next_time = finished + max(self._every_seconds, 20.0 * (finished - started))

    def _status(self, step: int) -> str:
        steps = self._config.training.steps
        status = f"step {step} of {steps}"
        if self._speed:
            frames = (steps - step) * self._config.data.batch_size * self._config.data.segment_frames
            minutes, seconds = divmod(round(frames / self._speed), 60)
            status += f" · {self._speed:,.0f} frames/s · " + (f"{minutes}:{seconds:02d} left" if frames else "done")
        return status


class LiveSamples(SampleWriter):
    """Lets the latest samples be heard while a model trains: give it to `train` as `on_sample`. Writes them, too."""

    def __init__(self, codec: Codec | None = None, max_classes: int = 8) -> None:
        """Prepares; the arguments are those of `SampleWriter`."""
        super().__init__(codec, max_classes)
        self._handle: DisplayHandle | None = None

    def __call__(self, checkpoint: Checkpoint, run: Path) -> None:
        """Writes the samples, and shows them in the place of the last ones."""
        super().__call__(checkpoint, run)
        step = checkpoint.metadata.step
        sheet = _sheet({f"{name}, step {step}": take for name, take in self.latest.items()})
        if self._handle is None:
            self._handle = DisplayHandle()
            self._handle.display(sheet)
        else:
            self._handle.update(sheet)


def reference_clips(dataset: Dataset, codec: Codec | None = None, n: int = 3, seconds: float = 5.0) -> AudioGrid:
    """Real clips, as the codec renders them: the best that a model of these codes can sound.

    Args:
        dataset: Where they are from.
        codec: The data set's own, loaded by its name if None.
        n: Clips of each class, spread over its files.
        seconds: At most so much of each.

    Returns:
        A row of sounds per class, at their original loudness and the codec's sample rate.

    Raises:
        UserError: The codec is not the one that the data set was made with.
    """
    info = dataset.info
    codec = codec or load_codec(info.codec_name, info.num_codebooks)
    sounds = {}
    for name in dataset.conditions.classes:
        rows = dataset.rows[dataset.rows["class"] == name]
        for i in evenly_spaced(len(rows), n):
            row = rows.iloc[i]
            values = {key: row[key] for key in dataset.conditions.parameters if not np.isnan(row[key])}
            title = ", ".join([f"{name} {i + 1}", *(f"{key} {value:g}" for key, value in values.items())])
            sounds[title] = load_reference_clip(dataset, str(row["file"]), codec, seconds)
    return AudioGrid(sounds, info.sample_rate, columns=n)


def one_take_per_class(synth: Synthesizer, seconds: float = 3.0, seed: int = 0, **sampling: Any) -> AudioGrid:
    """A take of every class, its parameters left open.

    Args:
        synth: What plays.
        seconds: Length of each.
        seed: Of all together.
        **sampling: As in `Synthesizer.generate`.

    Returns:
        The sounds.
    """
    classes = synth.conditions.classes
    takes = synth.generate_batch(seconds, [{"class": name} for name in classes], seed, **sampling)
    return _sheet(dict(zip(classes, takes, strict=True)))


def sweep(
    synth: Synthesizer,
    class_name: str | None = None,
    parameter: str | None = None,
    values: Sequence[float] = (),
    seeds: Sequence[int] = (0,),
    seconds: float = 3.0,
    **sampling: Any,
) -> AudioGrid:
    """Moves one parameter and nothing else: can it be heard?

    Args:
        synth: What plays.
        class_name: The class; the first that has a parameter if None.
        parameter: The class's parameter; its first if None.
        values: In the parameter's units; five from the lowest to the highest that were heard in training if empty.
        seeds: One row of sounds for each.
        seconds: Length of each.
        **sampling: As in `Synthesizer.generate`.

    Returns:
        The sounds, values from left to right; one of each class where the model has no parameter to move.

    Raises:
        UserError: An unknown class or parameter.
    """
    class_name, parameter = choose_control(synth.conditions, class_name, parameter)
    if parameter is None:
        return one_take_per_class(synth, seconds, seeds[0], **sampling)
    scale = synth.conditions.parameters[parameter]
    if not len(values):
        values = np.linspace(scale.low, scale.high, 5).tolist()
    controls = [{"class": class_name, parameter: value} for value in values]
    takes = {}
    for seed in seeds:
        titles = [f"{class_name}, {parameter} {value:g}, seed {seed}" for value in values]
        takes |= zip(titles, synth.generate_batch(seconds, controls, seed, **sampling), strict=True)
    return _sheet(takes, columns=len(values))


def sweep_curve(
    synth: Synthesizer, seconds: float, class_name: str | None = None, parameter: str | None = None
) -> Controls:
    """Controls that move: a parameter from its lowest to its highest value and back.

    Args:
        synth: What is to play them.
        seconds: Length of the whole way.
        class_name: As in `sweep`.
        parameter: As in `sweep`.

    Returns:
        Controls for `Synthesizer.generate`; where the model has no parameter, the weight of a class moves.
    """
    class_name, parameter = choose_control(synth.conditions, class_name, parameter)
    if parameter is None:
        return {"class": {class_name: Curve([(0.0, 0.0), (seconds / 2, 1.0), (seconds, 0.0)])}}
    scale = synth.conditions.parameters[parameter]
    return {"class": class_name, parameter: Curve([(0.0, scale.low), (seconds / 2, scale.high), (seconds, scale.low)])}


def morph(
    synth: Synthesizer,
    a: str | None = None,
    b: str | None = None,
    seconds: float = 6.0,
    seed: int = 0,
    **sampling: Any,
) -> Take:
    """Goes from one class to another.

    Args:
        synth: What plays.
        a: Where it starts; the first class if None.
        b: Where it ends; the last class if None.
        seconds: Length of the way.
        seed: As in `Synthesizer.generate`.
        **sampling: As in `Synthesizer.generate`.

    Returns:
        The take.

    Raises:
        UserError: An unknown class.
    """
    a, b = a or synth.conditions.classes[0], b or synth.conditions.classes[-1]
    weights = {a: Curve([(0.0, 1.0), (seconds, 0.0)]), b: Curve([(0.0, 0.0), (seconds, 1.0)])}
    return synth.generate(seconds, {"class": weights}, seed, **sampling)


def control_panel(synth: Synthesizer, seconds: float = 4.0, seed: int = 0) -> "ControlPanel":
    """Sliders for everything that can be asked of a model; a slider that is let go plays.

    Args:
        synth: What plays.
        seconds: Length of a take, to begin with.
        seed: To begin with.

    Returns:
        The panel, with a first take made.
    """
    panel = ControlPanel(synth, seconds, seed)
    panel.generate()
    return panel


class ControlPanel(widgets.VBox):
    """The panel that `steer` makes; every widget is an attribute, and may be set from Python as well.

    Attributes:
        take: The take that is shown; None if it could not be made.
        start: The class; empty for any.
        goal: The class that `blend` goes to; empty for no other.
        blend: How far: 0 is all `start`, 1 all `goal`.
        parameters: A slider per parameter, in its own units. Those of other classes are out of sight, and not sent.
        unknown: A check box per parameter: checked, the parameter is left to the model.
        seconds: Length of a take.
        sampling: Sliders for guidance, temperature, top_p. What is not moved stays as the run has it.
        seed: The same seed and controls give the same take.
        message: Warnings and errors.
        result: Player, spectrogram, controls.
    """

    def __init__(self, synth: Synthesizer, seconds: float, seed: int) -> None:
        """Builds it; `steer` is the usual way."""
        self.synth = synth
        self.take: Take | None = None
        classes = synth.conditions.classes
        self.start = _dropdown("class", classes, "(any)")
        self.start.value = classes[0]
        self.goal = _dropdown("morph to", classes, "(none)")
        self.blend = _slider("how far", 0.0, 0.0, 1.0)
        self.parameters = {
            name: _slider(name, (scale.low + scale.high) / 2, scale.low, scale.high)
            for name, scale in synth.conditions.parameters.items()
        }
        self.unknown = {
            name: widgets.Checkbox(description="open", indent=False, layout=widgets.Layout(width="70px"))
            for name in self.parameters
        }
        self.seconds = _slider("seconds", seconds, 0.5, max(20.0, seconds), step=0.5)
        usual = synth.sampling
        self.sampling = {
            "guidance": _slider("guidance", usual.guidance, 0.0, max(5.0, usual.guidance), step=0.1),
            "temperature": _slider("temperature", float(np.mean(usual.temperature)), 0.0, 2.0),
            "top_p": _slider("top-p", float(np.mean(usual.top_p)), 0.0, 1.0),
        }
        self._usual = {name: slider.value for name, slider in self.sampling.items()}
        self.seed = widgets.BoundedIntText(seed, min=0, max=2**31 - 1, description="seed", layout=_WIDTH, style=_STYLE)
        self._play = widgets.Button(description="Generate", button_style="primary", icon="play")
        self._another = widgets.Button(description="Another seed", icon="random")
        self.message = widgets.HTML()
        self.result = widgets.HTML()
        self._rows = {name: widgets.HBox([slider, self.unknown[name]]) for name, slider in self.parameters.items()}
        sound = widgets.VBox([self.start, self.goal, self.blend, *self._rows.values()])
        draw = widgets.VBox([self.seconds, *self.sampling.values(), self.seed])
        buttons = widgets.HBox([self._play, self._another, self.message])
        super().__init__([widgets.HBox([sound, draw]), buttons, self.result])
        self._enable()
        moved = [self.start, self.goal, self.blend, *self.parameters.values(), *self.unknown.values()]
        for widget in [*moved, self.seconds, *self.sampling.values(), self.seed]:
            widget.observe(self._on_change, "value")
        self._play.on_click(lambda _: self.generate(play=True))
        self._another.on_click(lambda _: self.seed.set_trait("value", (self.seed.value + 1) % 2**31))

    @property
    def controls(self) -> Controls:
        """What the panel asks for, as `Synthesizer.generate` takes it."""
        controls: dict[str, Any] = {
            name: self.parameters[name].value for name in self._active() if not self.unknown[name].value
        }
        start, goal, blend = self.start.value, self.goal.value, self.blend.value
        if not self.blend.disabled:
            return controls | {"class": {start: 1.0 - blend, goal: blend}}
        return controls | {"class": start} if start else controls

    def generate(self, play: bool = False) -> None:
        """Makes a take of what the panel asks for, and shows it.

        Args:
            play: Start the player, too.
        """
        self.message.value, self._play.disabled = "generating …", True
        asked = {name: slider.value for name, slider in self.sampling.items() if slider.value != self._usual[name]}
        self.take, notes = None, []
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                self.take = self.synth.generate(self.seconds.value, self.controls, self.seed.value, **asked)
            notes = [str(warning.message) for warning in caught]
        except UserError as error:
            notes = [str(error)]
        except Exception as error:  # a callback's traceback is lost to the notebook: say it here, then let it go on
            notes = [f"{type(error).__name__}: {error}"]
            raise
        finally:
            self.message.value = "".join(f'<div style="color: #b04000">{html.escape(note)}</div>' for note in notes)
            self._play.disabled = False
            self.result.value = _take_html(self.take, play) if self.take else ""

    def _on_change(self, _: Any) -> None:
        self._enable()
        self.generate(play=True)

    def _active(self) -> list[str]:
        """The parameters that the classes at hand have; all of them where no class is chosen."""
        return self.synth.conditions.parameters_for({self.start.value, self.goal.value} - {""})

    def _enable(self) -> None:
        """Shows what can be moved now, and nothing else."""
        active = self._active()
        for name, row in self._rows.items():
            row.layout.display = "" if name in active else "none"
            self.parameters[name].disabled = self.unknown[name].value
        self.blend.disabled = not self.goal.value or self.start.value in ("", self.goal.value)


def choose_control(
    conditions: Conditions, class_name: str | None = None, parameter: str | None = None
) -> tuple[str, str | None]:
    """Fills in what was left open: a class, and a parameter that it has.

    Args:
        conditions: What the model knows.
        class_name: The parameter's first class if None, else the first that has a parameter, else the first.
        parameter: The class's first if None.

    Returns:
        Class and parameter; None where the class has no parameter.

    Raises:
        UserError: A parameter that the class, or any class, does not have.
    """
    pairs = [(name, key) for key, scale in conditions.parameters.items() for name in scale.classes]
    fitting = [(n, p) for n, p in pairs if class_name in (None, n) and parameter in (None, p)]
    if parameter is not None and not fitting:
        known = ", ".join(f"{n}: {p}" for n, p in pairs)
        raise UserError(f"No parameter '{parameter}' of {class_name or 'any class'}. Known: {known or 'none'}.")
    return fitting[0] if fitting else (class_name or conditions.classes[0], None)


_WIDTH = widgets.Layout(width="380px")
_STYLE = {"description_width": "100px"}


def _slider(name: str, value: float, low: float, high: float, step: float | None = None) -> widgets.FloatSlider:
    """Speaks when it is let go, not on the way: a take costs seconds."""
    step = step or (high - low) / 100 or None
    return widgets.FloatSlider(
        value,
        min=low,
        max=high,
        step=step,
        description=name,
        continuous_update=False,
        readout_format=".3g",
        layout=_WIDTH,
        style=_STYLE,
    )


def _dropdown(name: str, classes: Sequence[str], nothing: str) -> widgets.Dropdown:
    options = [(nothing, ""), *zip(classes, classes, strict=True)]
    return widgets.Dropdown(options=options, value="", description=name, layout=_WIDTH, style=_STYLE)


def _sheet(takes: Mapping[str, Take], columns: int = 4) -> AudioGrid:
    rate = next(iter(takes.values())).sample_rate
    return AudioGrid({title: take.audio for title, take in takes.items()}, rate, columns)


def _take_html(take: Take, play: bool) -> str:
    parts = audio_html(take.audio, take.sample_rate, play, take.loops) + figure_html(take.plot())
    return f'<div style="max-width: 900px">{parts}</div>'
