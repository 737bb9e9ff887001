"""A take: sound with its codes and its recipe. Data that never changes; edits make new takes."""

import dataclasses
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dacformer.display.html import audio_html
from dacformer.errors import UserError
from dacformer.generation.controls import AnyControls, Controls, SampledControls
from dacformer.generation.original import OriginalAudio
from dacformer.generation.recipe import Loop, Recipe
from dacformer.generation.take_files import read_folder, save_take

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dacformer.generation.history import History


class TakeEditor(Protocol):
    """What makes new takes of a take: a `Session`. Arguments as in the methods of `Take`."""

    def extend(
        self,
        take: "Take",
        seconds: float,
        controls: AnyControls | None = None,
        seed: int | None = None,
        progress: bool = False,
        **sampling: Any,
    ) -> "Take":
        """See `Take.extend`."""
        ...

    def branch(
        self,
        take: "Take",
        n: int,
        seconds: float,
        controls: AnyControls | None = None,
        seed: int | None = None,
        progress: bool = False,
        **sampling: Any,
    ) -> "list[Take]":
        """See `Take.branch`."""
        ...

    def cut(self, take: "Take", at_seconds: float) -> "Take":
        """See `Take.cut`."""
        ...

    def loop(self, take: "Take", seconds: float, n: int = 4, progress: bool = False) -> "Take":
        """See `Take.loop`."""
        ...

    def parent_of(self, take: "Take") -> "Take | None":
        """See `Take.parent`."""
        ...

    def children_of(self, take: "Take") -> "list[Take]":
        """See `Take.children`."""
        ...

    def history_of(self, take: "Take") -> "History":
        """See `Take.history`."""
        ...


@dataclass(frozen=True, eq=False)
class Take:
    """Sound, its codes, and how it came about. In a notebook it shows a player.

    A take never changes. An edit makes a new take in code space: nothing is encoded again, and no more is decoded than
    what changes. At a seam that is the end of what was there, as far as the codec's decoder looks ahead (11 frames,
    128 ms, of `small`); the audio before it stays bit for bit, and all codes do.

    Attributes:
        audio_chunks: The audio, `(n,)` float32 each, to be laid end to end; shared with the takes it was made from.
        codes: `(K, T)` int64.
        sample_rate: In Hz.
        hop_length: Samples per frame.
        recipe: What made it: checkpoint, codec, controls, sampling, seed, prompt, and every edit.
        original: The sound that it continues, as it came; None where it continues none, or only codes.
        id: Tells it from every other take, also from those of other processes.
        parent_id: The take that it was made from; None where it was made from none.
        editor: What makes new takes of it; None where it was read without a model.
    """

    audio_chunks: tuple[np.ndarray, ...] = dataclasses.field(repr=False)
    codes: np.ndarray = dataclasses.field(repr=False)
    sample_rate: int
    hop_length: int
    recipe: Recipe
    original: OriginalAudio | None = None
    id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    parent_id: str | None = None
    editor: TakeEditor | None = dataclasses.field(default=None, repr=False)

    @property
    def audio(self) -> np.ndarray:
        """`(N,)` float32, laid together each time it is asked for."""
        return np.concatenate(self.audio_chunks)

    def leading_samples(self, count: int) -> Iterator[np.ndarray]:
        """The first samples, chunk by chunk, without a copy."""
        for chunk in self.audio_chunks:
            if count > 0:
                yield chunk[:count]
            count -= len(chunk)

    def audio_with_original(self) -> tuple[np.ndarray, int]:
        """The sound that the take continues, sample by sample as it came, and then what was made.

        Returns:
            `(N, channels)` float32 and its rate in Hz: those of `original`. Where there is none, the take's own audio.
        """
        if self.original is None:
            return self.audio[:, None], self.sample_rate
        added = self.audio[self.recipe.prompt_frames * self.hop_length :]
        return self.original.followed_by(added, self.sample_rate), self.original.sample_rate

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.codes.shape[1] * self.hop_length / self.sample_rate

    @property
    def controls(self) -> Controls:
        """What steered it, in its own time."""
        return self.recipe.controls

    @property
    def curves(self) -> SampledControls:
        """What steered each frame, each `(T,)` in its own units; NaN where it was unset, and during a prompt."""
        times = np.arange(self.codes.shape[1]) * self.hop_length / self.sample_rate
        return self.controls.at(times).unset_before(self.recipe.prompt_frames)

    def extend(
        self,
        seconds: float,
        controls: AnyControls | None = None,
        seed: int | None = None,
        progress: bool = False,
        **sampling: Any,
    ) -> "Take":
        """Continues the take at its end.

        Args:
            seconds: How much longer.
            controls: What steers the new part; their time starts at 0 where it begins. The take's own go on if None.
            seed: Of the new part. The take's own if None: the result is what one long take would have been.
            progress: Show a bar.
            **sampling: What changes of the take's sampling, as in `Synthesizer.generate`.

        Returns:
            The longer take.

        Raises:
            UserError: Unknown controls or bad values, or a take that was opened without a model.
        """
        return self._editor.extend(self, seconds, controls, seed, progress, **sampling)

    def branch(
        self,
        n: int,
        seconds: float,
        controls: AnyControls | None = None,
        seed: int | None = None,
        progress: bool = False,
        **sampling: Any,
    ) -> "Branches":
        """Makes continuations to choose from, side by side.

        Args:
            n: How many.
            seconds: As in `extend`, and so are the others.
            controls: As in `extend`.
            seed: Of all together.
            progress: As in `extend`.
            **sampling: As in `extend`.

        Returns:
            The longer takes.

        Raises:
            UserError: As in `extend`.
        """
        return Branches(self._editor.branch(self, n, seconds, controls, seed, progress, **sampling))

    def cut(self, at_seconds: float) -> "Take":
        """Keeps the beginning.

        Args:
            at_seconds: Where it is to end, rounded to a frame. `extend` with the same seed and controls plays again
                what was cut off; with another seed, something else.

        Returns:
            The shorter take.

        Raises:
            UserError: Not a time within the take, or a take that was opened without a model.
        """
        return self._editor.cut(self, at_seconds)

    def loop(self, seconds: float, n: int = 4, progress: bool = False) -> "Take":
        """Cuts out a piece whose end leads into its beginning; in a notebook it plays round and round.

        The take is made longer if it has to be, so that there is something to choose from. The piece is the one whose
        two ends are most alike (see `generation.looping`), and is decoded in a circle. Controls that move may differ
        between its ends.

        Args:
            seconds: Its length, rounded to frames.
            n: Continuations to choose from, where the take has to be longer.
            progress: Show a bar.

        Returns:
            The loop.

        Raises:
            UserError: Shorter than 0.2 s, or as in `extend`.
        """
        return self._editor.loop(self, seconds, n, progress)

    def undo(self) -> "Take":
        """The take that this one was made from; this one stays among its `children`.

        Raises:
            UserError: It was made from none.
        """
        if self.parent is None:
            raise UserError("There is nothing to undo: this take was not made from another one.")
        return self.parent

    @property
    def parent(self) -> "Take | None":
        """The take that it was made from."""
        return None if self.editor is None else self.editor.parent_of(self)

    @property
    def children(self) -> "list[Take]":
        """The takes that were made from it."""
        return [] if self.editor is None else self.editor.children_of(self)

    @property
    def history(self) -> "History":
        """All takes that were made from the same first one; in a notebook, a tree of players."""
        return self._editor.history_of(self)

    @property
    def loops(self) -> bool:
        """Whether its end leads into its beginning."""
        return isinstance(self.recipe.edits[-1], Loop)

    def save(self, path: str | Path) -> Path:
        """Writes the take with its recipe: as sound, as codes, or as a folder with everything.

        A recipe that is too long for a sound file's comment goes into a `.json` beside it.

        Args:
            path: The suffix chooses: `.dac`, any sound format, or none for a folder, which `load_take` gives back
                exactly: sound (32-bit float `.wav`), codes, controls, recipe, picture.

        Returns:
            The path.

        Raises:
            UserError: As in `take_files.check_savable`, or there is no room.
        """
        return save_take(self, path)

    def plot(self) -> "Figure":
        """Waveform, spectrogram and controls, one above the other, on one axis of time."""
        from dacformer.display.audio_plots import plot_steered_sound

        return plot_steered_sound(self.audio, self.sample_rate, self.curves.labelled())

    @property
    def _editor(self) -> TakeEditor:
        if self.editor is None:
            raise UserError(
                "This take was opened without a model, which alone can change it. Use synth.load_take(path)."
            )
        return self.editor

    def __repr__(self) -> str:
        return f"<Take of {self.seconds:.2f} s, seed {self.recipe.seed}, {self.controls}>"

    def _repr_html_(self) -> str:
        return audio_html(self.audio, self.sample_rate, loop=self.loops)


class Branches(list[Take]):
    """Takes to choose from: in a notebook, a player each."""

    def _repr_html_(self) -> str:
        return "".join(f"<div>[{number}] {take._repr_html_()}</div>" for number, take in enumerate(self))


def read_take(folder: str | Path) -> Take:
    """Reads a folder that `Take.save` wrote, without a model: `Synthesizer.load_take` opens one to go on with it.

    Args:
        folder: The folder.

    Returns:
        The take, as it was saved; its parent is forgotten.

    Raises:
        UserError: A file is missing, damaged, or does not fit the others.
    """
    contents = read_folder(folder)
    return Take(
        audio_chunks=(contents.audio,),
        codes=contents.codes,
        sample_rate=contents.sample_rate,
        hop_length=contents.hop_length,
        recipe=contents.recipe,
        original=contents.original,
    )
