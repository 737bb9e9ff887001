"""The player: a widget whose page plays what a `LiveEngine` makes, and whose controls steer it.

The page (`js/`) plays the chunks and reports how much it has played. Its messages are `play`, `stop` and `report`; the
kernel's are `chunk` (with the samples as a binary buffer) and `ended`. The controls are traits, so they can be moved
from Python as well: `player.parameters = {"strength": 0.7}`.
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

    The modules stand one after the other in one scope, where each finds the names of those before it. So their
    imports of each other and the word `export` are left out, but for the last module's default export. A page that
    is served from files loads the modules as they are. (Blob URLs would keep the modules apart, but some hosts forbid
    them, and a traceback would name no file.)
    """
    texts = [(_HERE / "js" / f"{name}.js").read_text(encoding="utf-8") for name in _MODULES]
    joined = re.sub(r'^import \{[^}]*\} from "\./\w+\.js";\n', "", "\n".join(texts), flags=re.MULTILINE)
    return re.sub(r"^export (?!default )", "", joined, flags=re.MULTILINE)


def play(synth: Synthesizer, seed: int = 0) -> "PlayerWidget":
    """Make a player for a notebook: sliders, and sound that follows them while it is made.

    Its button starts the sound, as browsers let a page sound only after a click.

    Args:
        synth: The model.
        seed: Of the first take. The same seed and the same moves give the same codes.

    Returns:
        The player. The first one on a machine takes some ten seconds: the code that it runs is compiled once.
    """
    player = PlayerWidget(synth, seed)
    Performance(synth).play(player.control_state)  # now, so that the button finds everything compiled
    return player


class PlayerWidget(anywidget.AnyWidget):
    """The player that `play` makes. Each press of the button begins a new take and stops any other player.

    Attributes:
        weights: Of each class.
        parameters: The value of each parameter.
        unset: Names of the parameters that are left to the model.
        active: Names of the parameters that the weighted classes have.
        temperature: As in `SamplingConfig`, one for all codebooks.
        guidance: As in `SamplingConfig`.
        level_db: Level of the page, in dB; takes are not changed by it.
        seed: Of the next take.
        status: Why it stopped, if that was not asked for.
        delay_seconds: From moving a slider to hearing it, as the page measured it last; None before.
        underruns: How often the page ran out of samples, in the last take.
        buffer_seconds: How much sound the page is asked to buffer.
    """

    _playing: ClassVar["PlayerWidget | None"] = None  # only one of a notebook plays at a time
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
    moves = traitlets.Int(0).tag(sync=True)  # the number of the page's last change of controls
    status = traitlets.Unicode("").tag(sync=True)

    def __init__(self, synth: Synthesizer, seed: int = 0) -> None:
        """Build it; `play` is the usual way."""
        self._synth = synth
        self._played: list[LiveEngine] = []
        self._page = ""  # of those that show this player, the one that sounds
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
        """The controls as they stand; unset parameters and those that no weighted class has are left out."""
        asked = {name: self.parameters[name] for name in self.active if name not in self.unset}
        return ControlState(dict(self.weights), asked, self.temperature, self.guidance)

    @property
    def take(self) -> Take:
        """The take that was played last, with all that was generated of it.

        Raises:
            UserError: Nothing was played yet.
        """
        if not self._played:
            raise UserError("Nothing was played yet, so there is no take. Press play first.")
        return self._played[-1].performance.take

    @property
    def performances(self) -> list[Performance]:
        """One for each press of the button; its `take` is what was played."""
        return [live.performance for live in self._played]

    @property
    def sounds(self) -> bool:
        """Whether a take is being played, or waits for its page to come back."""
        return bool(self._played) and self._played[-1].is_running

    @property
    def underruns(self) -> int:
        """How often the page ran out of samples, in the last take."""
        return self._played[-1].buffer.underruns if self._played else 0

    @property
    def buffer_seconds(self) -> float:
        """How much sound the page is asked to buffer; more where the machine did not keep up."""
        return self._played[-1].buffer.target_seconds if self._played else 0.0

    def set(self, name: str, value: Any) -> None:
        """Move a control from outside the page, see `LiveControls`.

        Args:
            name: A parameter, or `class`.
            value: In the parameter's own units; the name of the only class, for `class`.

        Raises:
            UserError: The model does not know it.
        """
        if name == "class":
            self.weights = {**dict.fromkeys(self.weights, 0.0), value: 1.0}
        else:
            self.parameters = {name: value}
            self.unset = [other for other in self.unset if other != name]

    def stop(self) -> None:
        """End the take that is being played, if there is one."""
        if self.sounds:
            self._played[-1].stop()

    def close(self) -> None:
        """Stop, and take the player off the page."""
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
        """Begin a take, or continue for this page one whose page is gone."""
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
