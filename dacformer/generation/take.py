"""A take: sound with its codes and its recipe. Data that never changes; edits make new takes."""

import dataclasses
import secrets
import time
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
    """Interface of what edits takes, implemented by `Session`. Arguments are those of the methods of `Take`."""

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
    """Generated sound with its codes and its recipe. A notebook shows it as a player.

    A take never changes. An edit works on the codes and returns a new take. Nothing is encoded again, and only the
    part that changes is decoded. At a seam, this part includes the last frames before it, because the codec's decoder
    looks ahead (11 frames, 128 ms, with the codec `small`). Earlier audio and all codes stay identical, bit for bit.

    Attributes:
        audio_chunks: The audio in consecutive pieces, each `(n,)` float32. Takes share pieces with their parents.
        codes: `(K, T)` int64.
        sample_rate: In Hz.
        hop_length: Samples per frame.
        recipe: How it was made: checkpoint, codec, controls, sampling, seed, prompt, and every edit.
        original: Samples of the sound file that it continues. None if it continues no sound file.
        id: 32 hexadecimal digits, unique across processes.
        parent_id: Id of the take that it was made from. None if it was not made from another take.
        editor: The session that edits it. None if it was read without a model.
    """

    audio_chunks: tuple[np.ndarray, ...] = dataclasses.field(repr=False)
    codes: np.ndarray = dataclasses.field(repr=False)
    sample_rate: int
    hop_length: int
    recipe: Recipe
    original: OriginalAudio | None = None
    id: str = dataclasses.field(default_factory=lambda: f"{time.time_ns():016x}{secrets.token_hex(8)}")
    parent_id: str | None = None
    editor: TakeEditor | None = dataclasses.field(default=None, repr=False)

    @property
    def audio(self) -> np.ndarray:
        """The whole audio, `(N,)` float32 in [-1, 1]. Joined from `audio_chunks` at each access."""
        return np.concatenate(self.audio_chunks)

    def leading_samples(self, count: int) -> Iterator[np.ndarray]:
        """Yields the first `count` samples, chunk by chunk, without a copy."""
        for chunk in self.audio_chunks:
            if count > 0:
                yield chunk[:count]
            count -= len(chunk)

    def audio_with_original(self) -> tuple[np.ndarray, int]:
        """Returns the samples of the continued sound file, unchanged, followed by the generated audio.

        Returns:
            Audio `(N, channels)` float32 and its sample rate in Hz, both as in `original`. If `original` is None, the
            take's own audio, with one channel.
        """
        if self.original is None:
            return self.audio[:, None], self.sample_rate
        added = self.audio[self.recipe.prompt_frames * self.hop_length :]
        return self.original.followed_by(added, self.sample_rate), self.original.sample_rate

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.codes.shape[1] * self.hop_length / self.sample_rate

    @property
    def controls(self) -> Controls:
        """The controls that it was generated with. Their times are seconds of the take."""
        return self.recipe.controls

    @property
    def curves(self) -> SampledControls:
        """The controls of each frame, each `(T,)` in its own units; NaN where unset and during a prompt."""
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
            seconds: Length of the new part, above 0.
            controls: Controls of the new part; their time 0 is where it begins. If None, the take's controls continue.
            seed: Seed of the new part. If None, the take's seed: the result is then identical to one longer take.
            progress: Show a progress bar.
            **sampling: Sampling settings that change, as in `Synthesizer.generate`. The others are the take's.

        Returns:
            The longer take.

        Raises:
            UserError: Controls are unknown, a value is not allowed, or the take was opened without a model.
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
        """Generates several continuations to choose from, side by side.

        Args:
            n: Number of continuations, 1 or more.
            seconds: As in `extend`.
            controls: As in `extend`.
            seed: One seed for all; the continuations still differ.
            progress: As in `extend`.
            **sampling: As in `extend`.

        Returns:
            The `n` longer takes.

        Raises:
            UserError: As in `extend`.
        """
        return Branches(self._editor.branch(self, n, seconds, controls, seed, progress, **sampling))

    def cut(self, at_seconds: float) -> "Take":
        """Keeps the beginning of the take and removes the rest.

        `extend` with the seed, controls and sampling of the removed part generates it again, unless the part was
        drawn side by side with others (`branch`, `generate_batch`). Another seed gives another continuation.

        Args:
            at_seconds: Where the new take ends, above 0 and at most `seconds`; rounded to a frame.

        Returns:
            The shorter take.

        Raises:
            UserError: The time is not within the take, or the take was opened without a model.
        """
        return self._editor.cut(self, at_seconds)

    def loop(self, seconds: float, n: int = 4, progress: bool = False) -> "Take":
        """Cuts out a piece that repeats without an audible seam. A notebook plays it repeatedly.

        The piece is the one whose two ends are most alike (see `generation.looping`). It is decoded so that its end
        continues into its beginning. A take that is too short for a choice is first extended. Controls that move over
        time may have different values at the two ends.

        Args:
            seconds: Length of the loop, 0.2 or more; rounded to frames.
            n: Number of continuations to choose from, if the take has to be extended.
            progress: Show a progress bar.

        Returns:
            The loop.

        Raises:
            UserError: The length is below 0.2 s, or as in `extend`.
        """
        return self._editor.loop(self, seconds, n, progress)

    def undo(self) -> "Take":
        """Returns the take that this one was made from. This one stays among the `children` of that take.

        Raises:
            UserError: The take was not made from another one.
        """
        parent = self.parent
        if parent is None:
            raise UserError("There is nothing to undo: this take was not made from another one.")
        return parent

    @property
    def parent(self) -> "Take | None":
        """The take that this one was made from; None if there is none."""
        return None if self.editor is None else self.editor.parent_of(self)

    @property
    def children(self) -> "list[Take]":
        """The takes that were made from this one by one edit."""
        return [] if self.editor is None else self.editor.children_of(self)

    @property
    def history(self) -> "History":
        """The tree of all takes that have the same root. A notebook shows it as a tree of players."""
        return self._editor.history_of(self)

    @property
    def loops(self) -> bool:
        """Whether the take is a loop: its last edit is `loop`."""
        return isinstance(self.recipe.edits[-1], Loop)

    def save(self, path: str | Path) -> Path:
        """Writes the take with its recipe: as a sound file, as a `.dac` file, or as a folder with everything.

        A sound file holds the recipe as a comment. If the recipe is too long for that, it is written as a `.json` file
        beside it.

        Args:
            path: The suffix chooses what is written: `.dac`, any sound format, or no suffix for a folder. A folder
                holds sound (32-bit float `.wav`), codes, controls, recipe and a picture; `load_take` restores it
                exactly.

        Returns:
            The path.

        Raises:
            UserError: As in `take_files.check_savable`, or the disk is full.
        """
        return save_take(self, path)

    def plot(self) -> "Figure":
        """Draws waveform, spectrogram and controls, one above the other, on a common time axis."""
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
    """List of takes to choose from. A notebook shows a player for each."""

    def _repr_html_(self) -> str:
        return "".join(f"<div>[{number}] {take._repr_html_()}</div>" for number, take in enumerate(self))


def read_take(folder: str | Path) -> Take:
    """Reads a folder that `Take.save` wrote, without a model. To edit the take, use `Synthesizer.load_take`.

    Args:
        folder: The folder.

    Returns:
        The take as it was saved, without editor and parent.

    Raises:
        UserError: A file is missing, is damaged, or does not match the other files.
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
