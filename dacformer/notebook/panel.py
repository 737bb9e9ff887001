"""Panel of sliders and fields that generates takes with these controls."""

import html
import warnings
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np

from dacformer.display.html import audio_html, figure_html
from dacformer.errors import UserError
from dacformer.generation.sampling import overall_guidance
from dacformer.generation.synthesizer import Synthesizer
from dacformer.generation.take import Take


def control_panel(synth: Synthesizer, seconds: float = 4.0, seed: int = 0) -> "ControlPanel":
    """Show sliders for all controls of a model. Releasing one generates and plays a take.

    Args:
        synth: The model.
        seconds: Initial length of takes.
        seed: Initial seed.

    Returns:
        The panel, which shows a first take.
    """
    panel = ControlPanel(synth, seconds, seed)
    panel.generate()
    return panel


class ControlPanel(widgets.VBox):
    """The panel that `control_panel` makes. Every widget is an attribute and can be set from Python.

    Attributes:
        take: The take that is shown; None if generation failed.
        start: Menu of the class; empty for any class.
        goal: Menu of a second class to morph to; empty for none.
        blend: Slider of the morph: 0 is `start`, 1 is `goal`.
        parameters: A slider per parameter, in its own units. Only parameters of the chosen classes are shown and used.
        unknown: A check box per parameter. If it is checked, the parameter is unset: the model chooses.
        seconds: Slider of the length.
        sampling: Sliders of guidance, temperature and top_p. Those that were not moved have the run's values.
        seed: Field of the seed. The same seed and controls give the same take.
        message: Warnings and errors of the last take.
        result: Player, spectrogram and controls of the take.
    """

    def __init__(self, synth: Synthesizer, seconds: float, seed: int) -> None:
        """Build the panel; `control_panel` is the usual way."""
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
        usual, guidance = synth.sampling, overall_guidance(synth.sampling.guidance)
        self.sampling = {
            "guidance": _slider("guidance", guidance, 0.0, max(5.0, guidance), step=0.1),
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
    def controls(self) -> dict[str, Any]:
        """The controls that the widgets stand at, as `Synthesizer.generate` takes them."""
        controls: dict[str, Any] = {
            name: self.parameters[name].value for name in self._active() if not self.unknown[name].value
        }
        start, goal, blend = self.start.value, self.goal.value, self.blend.value
        if not self.blend.disabled:
            return controls | {"class": {start: 1.0 - blend, goal: blend}}
        return controls | {"class": start} if start else controls

    def generate(self, play: bool = False) -> None:
        """Generate a take with the panel's controls, and show it.

        Args:
            play: Play it immediately.
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
        except Exception as error:  # a notebook does not show a callback's traceback, so show the message here
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
        """List the parameters of the chosen classes; all parameters if no class is chosen."""
        return self.synth.conditions.parameters_for({self.start.value, self.goal.value} - {""})

    def _enable(self) -> None:
        """Show the parameters of the chosen classes, and enable what has an effect."""
        active = self._active()
        for name, row in self._rows.items():
            row.layout.display = "" if name in active else "none"
            self.parameters[name].disabled = self.unknown[name].value
        self.blend.disabled = not self.goal.value or self.start.value in ("", self.goal.value)


_WIDTH = widgets.Layout(width="380px")
_STYLE = {"description_width": "100px"}


def _slider(name: str, value: float, low: float, high: float, step: float | None = None) -> widgets.FloatSlider:
    """Make a slider that reports its value only when it is released, because a take takes seconds."""
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


def _take_html(take: Take, play: bool) -> str:
    parts = audio_html(take.audio, take.sample_rate, play, take.loops) + figure_html(take.plot())
    return f'<div style="max-width: 900px">{parts}</div>'
