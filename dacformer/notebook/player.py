"""Player widget: plays the audio of a `LiveEngine` in the page, with sliders for the controls.

The page (`js/`) plays the chunks and reports how much it has played. It sends the messages `play`, `stop` and `report`.
The kernel sends `chunk` (with the samples as a binary buffer) and `ended`. The controls are traits, so they can be set
from Python, too: `player.parameters = {"strength": 0.7}`.
"""

import re
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import numpy as np
import traitlets

from dacformer.arguments import check_seed
from dacformer.errors import UserError
from dacformer.generation.controls import Controls
from dacformer.generation.sampling import overall_guidance, parse_sampling
from dacformer.generation.synthesizer import Synthesizer
from dacformer.generation.take import Take
from dacformer.live.engine import Chunk, LiveEngine
from dacformer.live.performance import ControlState, Performance

_HERE = Path(__file__).parent
_MODULES = ("worklet", "audio", "controls", "scope", "widget")
"""The page's JavaScript modules in `js/`. Each imports only modules before it."""


def join_modules() -> str:
    """Join the page's modules into the one ES module that anywidget takes.

    The modules are concatenated, so each sees the names of those before it. Their imports of each other and the
    keyword `export` are removed, except the last module's default export. A page that is served from files loads the
    modules unchanged. (Blob URLs would keep the modules separate, but some hosts forbid them, and tracebacks would not
    name a file.)
    """
    texts = [(_HERE / "js" / f"{name}.js").read_text(encoding="utf-8") for name in _MODULES]
    joined = re.sub(r'^import \{[^}]*\} from "\./\w+\.js";\n', "", "\n".join(texts), flags=re.MULTILINE)
    return re.sub(r"^export (?!default )", "", joined, flags=re.MULTILINE)


def play(synth: Synthesizer, seed: int = 0) -> "PlayerWidget":
    """Make a player for a notebook: it generates sound in real time, controlled by sliders.

    Its button starts the sound, because browsers allow sound only after a click.

    Args:
        synth: The model.
        seed: Seed of the first take. The same seed and the same changes of controls give the same codes.

    Returns:
        The player. The first call on a machine takes about ten seconds, in which code is compiled.
    """
    player = PlayerWidget(synth, seed)
    Performance(synth).play(player.control_state)  # compiles now, so that the button reacts at once
    return player


class PlayerWidget(anywidget.AnyWidget):
    """The player that `play` makes. Each press of the button begins a new take and stops any other player.

    Attributes:
        weights: Weight of each class, 0 or more.
        parameters: Value of each parameter, in its own units.
        unset: Names of the parameters that are unset: the model chooses.
        active: Names of the parameters that classes with a weight above 0 have.
        temperature: As in `SamplingConfig`, one for all codebooks.
        guidance: As in `SamplingConfig`, one for all channels.
        level_db: Playback level in dB. Takes do not depend on it.
        seed: Seed of the next take.
        status: Why the player stopped, if not by `stop`; else empty.
        delay_seconds: Latest measured time from a change of a slider to the sound; None before the first.
        underruns: Number of underruns in the last take.
        buffer_seconds: Length of audio that the page should buffer.
    """

    _playing: ClassVar["PlayerWidget | None"] = None  # the player that was started last
    _esm = join_modules()
    _css = _HERE / "player.css"
    info = traitlets.Dict().tag(sync=True)
    weights = traitlets.Dict().tag(sync=True)
    parameters = traitlets.Dict().tag(sync=True)
    unset = traitlets.List().tag(sync=True)
    active = traitlets.List().tag(sync=True)
    temperature = traitlets.Float(1.0, min=0.0).tag(sync=True)
    guidance = traitlets.Float(1.0, min=0.0).tag(sync=True)
    level_db = traitlets.Float(0.0).tag(sync=True)
    seed = traitlets.Int(0, min=0).tag(sync=True)
    moves = traitlets.Int(0).tag(sync=True)  # number of the page's last change of controls
    status = traitlets.Unicode("").tag(sync=True)

    def __init__(self, synth: Synthesizer, seed: int = 0) -> None:
        """Build the player; `play` is the usual way."""
        self._synth = synth
        self._played: list[LiveEngine] = []
        self._page = ""  # id of the page that plays; several may show this player
        self.delay_seconds: float | None = None
        conditions, usual = synth.conditions, synth.sampling
        ranges = {name: (scale.low, scale.high) for name, scale in conditions.parameters.items()}
        super().__init__(
            info={"rate": synth.info.sample_rate, "classes": conditions.classes, "ranges": ranges},
            weights={name: float(i == 0) for i, name in enumerate(conditions.classes)},
            parameters={name: (low + high) / 2 for name, (low, high) in ranges.items()},
            temperature=float(np.mean(usual.temperature)),
            guidance=overall_guidance(usual.guidance),
            seed=check_seed(seed),
        )
        self.on_msg(self._on_message)

    @property
    def control_state(self) -> ControlState:
        """The current controls, without unset parameters and those that are not `active`."""
        asked = {name: self.parameters[name] for name in self.active if name not in self.unset}
        return ControlState(dict(self.weights), asked, self.temperature, self.guidance)

    @property
    def take(self) -> Take:
        """The take that was played last. It includes audio that was generated but not yet played.

        Raises:
            UserError: Nothing has been played yet.
        """
        if not self._played:
            raise UserError("Nothing was played yet, so there is no take. Press play first.")
        return self._played[-1].performance.take

    @property
    def performances(self) -> list[Performance]:
        """All performances, one for each press of the button; `take` of each is what was played."""
        return [live.performance for live in self._played]

    @property
    def sounds(self) -> bool:
        """Whether a take is being played, or waits for its page to reconnect."""
        return bool(self._played) and self._played[-1].is_running

    @property
    def underruns(self) -> int:
        """Number of underruns in the last take."""
        return self._played[-1].buffer.underruns if self._played else 0

    @property
    def buffer_seconds(self) -> float:
        """Length of audio in seconds that the page should buffer. It grows after underruns."""
        return self._played[-1].buffer.target_seconds if self._played else 0.0

    def set(self, name: str, value: Any) -> None:
        """Set a control from Python, as `LiveControls` does.

        Args:
            name: Name of a parameter, or `class`.
            value: Value in the parameter's own units; for `class`, the name of a class, which gets all weight.

        Raises:
            UserError: The name is unknown, or the value is not allowed.
        """
        if name == "class":
            self.weights = {**dict.fromkeys(self.weights, 0.0), value: 1.0}
        else:
            self.parameters = {name: value}
            self.unset = [other for other in self.unset if other != name]

    def stop(self) -> None:
        """Stop playing, if a take is being played."""
        if self.sounds:
            self._played[-1].stop()

    def close(self) -> None:
        """Stop, and remove the player from the page."""
        self.stop()
        super().close()

    @traitlets.validate("weights", "parameters")
    def _check(self, proposal: Any) -> dict[str, float]:
        """Check the controls, and keep the values of those that are not named."""
        values = getattr(self, proposal.trait.name) | proposal.value
        controls = Controls(classes=values) if proposal.trait.name == "weights" else Controls(parameters=values)
        controls.check(self._synth.conditions)
        return values

    @traitlets.validate("temperature", "guidance")
    def _check_sampling(self, proposal: Any) -> float:
        parse_sampling(self._synth.sampling, {proposal.trait.name: proposal.value})
        return proposal.value

    @traitlets.observe("weights", "parameters", "unset", "temperature", "guidance")
    def _move(self, _: Any) -> None:
        weighed = [name for name, weight in self.weights.items() if weight]
        self.active = self._synth.conditions.parameters_for(weighed)
        if self.sounds:
            self._played[-1].move(self.control_state, self.moves)

    def _on_message(self, _: Any, message: dict[str, Any], __: Any) -> None:
        """Handle a message of a page."""
        kind, page = message["type"], message["page"]
        if kind == "play":
            self._begin(page)
        elif page == self._page and kind == "stop":
            self.stop()
        elif page == self._page and self.sounds:
            self.delay_seconds = message["delay"] or self.delay_seconds
            self._played[-1].listen(message["played"], message["is_playing"], message["underruns"])

    def _begin(self, page: str) -> None:
        """Start a take, or let this page continue a take whose page is gone."""
        self._page, self.status = page, ""
        if self.sounds:
            self._played[-1].listen(None, False, 0)
            return
        before, PlayerWidget._playing = PlayerWidget._playing, self
        if before is not None and before is not self and before.sounds:
            before._played[-1].stop("Stopped: another player was started.")
        engine = LiveEngine(self._synth, self.control_state, self.seed, self._send_chunk, self._ended)
        self._played.append(engine)
        engine.start()

    def _send_chunk(self, chunk: Chunk) -> None:
        if len(chunk.audio):
            place = {"first": chunk.first, "change": chunk.change, "effective_from": chunk.effective_from}
            message = {"type": "chunk", "page": self._page, "target": chunk.target_seconds, **place}
            self.send(message, [chunk.audio.data])

    def _ended(self, why: str) -> None:
        self.status = why
        self.send({"type": "ended", "page": self._page})
