"""The instrument in the notebook: controls on the page, sound out of the page, everything that was played kept.

The page (`player.js`) plays what `LiveEngine` sends it and tells how much it has played. Its messages: `play`, `stop`,
`report`; ours: `chunk` (with the sound as a binary buffer), `ended`. The controls are traits, so they may be moved from
Python as well: `player.parameters = {"strength": 0.7}`.
"""

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


def play(synth: Synthesizer, seed: int = 0) -> "PlayerWidget":
    """Shows a player; its button starts the sound, since a page may only sound once it was clicked.

    Args:
        synth: What plays.
        seed: Of the takes, to begin with. The same seed and the same moves give the same codes.

    Returns:
        The player. The first one on a machine takes some ten seconds: what it runs is compiled, once.
    """
    player = PlayerWidget(synth, seed)
    Performance(synth).play(player.control_state)  # now, so that the button finds everything compiled
    return player


class PlayerWidget(anywidget.AnyWidget):
    """What `play` shows. Each press of the button begins a new take; starting another player stops this one.

    Attributes:
        weights: Of each class.
        parameters: The value of each parameter.
        unset: Names of the parameters that are left to the model.
        temperature: As in `SamplingConfig`, one for all codebooks.
        guidance: As in `SamplingConfig`.
        level_db: How loud the page plays; no take is changed by it.
        seed: Of the next take.
        status: Why it does not sound, if there is something to say.
        delay_seconds: From moving a slider to hearing it, as the page measured it last; None before.
        underruns: How often the sound ran out, in the last take.
        buffer_seconds: How much sound the page is to hold.
    """

    _playing: ClassVar["PlayerWidget | None"] = None  # only one of a notebook plays at a time
    _esm = _HERE / "player.js"
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
        """Builds it; `play` is the usual way."""
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
        self.on_msg(self._hear)

    @property
    def control_state(self) -> ControlState:
        """Where the controls stand: parameters that no class at hand has, or that are left open, are not sent."""
        asked = {name: self.parameters[name] for name in self.active if name not in self.unset}
        return ControlState(dict(self.weights), asked, self.temperature, self.guidance)

    @property
    def take(self) -> Take:
        """What was played last, as far as it was made.

        Raises:
            UserError: Nothing was played yet.
        """
        if not self._played:
            raise UserError("Nothing was played yet, so there is no take. Press play first.")
        return self._played[-1].performance.take

    @property
    def performances(self) -> list[Performance]:
        """One for each press of the button: its `take` is what was played."""
        return [live.performance for live in self._played]

    @property
    def sounds(self) -> bool:
        """Whether it plays, or waits for a page to go on listening."""
        return bool(self._played) and self._played[-1].is_running

    @property
    def underruns(self) -> int:
        """How often the sound ran out, in the last take."""
        return self._played[-1].buffer.underruns if self._played else 0

    @property
    def buffer_seconds(self) -> float:
        """How much sound the page is to hold; more where the machine did not keep up."""
        return self._played[-1].buffer.target_seconds if self._played else 0.0

    def set(self, name: str, value: Any) -> None:
        """Moves a control from outside the page, see `LiveControls`.

        Args:
            name: A parameter, or `class`.
            value: In the parameter's own units; the name of the class that is to be heard alone.

        Raises:
            UserError: The model does not know it.
        """
        if name == "class":
            self.weights = {**dict.fromkeys(self.weights, 0.0), value: 1.0}
        else:
            self.parameters = {name: value}
            self.unset = [other for other in self.unset if other != name]

    def stop(self) -> None:
        """Ends the take that sounds, if one does."""
        if self.sounds:
            self._played[-1].stop()

    def close(self) -> None:
        """Stops, and takes the player off the page."""
        self.stop()
        super().close()

    @traitlets.validate("weights", "parameters")
    def _check(self, proposal: Any) -> dict[str, float]:
        """Takes a part of the controls as well: what is not named stays where it is."""
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

    def _hear(self, _: Any, message: dict[str, Any], __: Any) -> None:
        """What a page says."""
        kind, page = message["type"], message["page"]
        if kind == "play":
            self._begin(page)
        elif page == self._page and kind == "stop":
            self.stop()
        elif page == self._page and self.sounds:
            self.delay_seconds = message["delay"] or self.delay_seconds
            self._played[-1].listen(message["played"], message["runs"], message["underruns"])

    def _begin(self, page: str) -> None:
        """A new take; where one waits for a page that is gone, it goes on for the new one."""
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
