"""A take: sound with its codes and how it came about; made longer, cut, branched, undone, kept, opened again."""

import dataclasses
import html
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import soundfile
import yaml
from pydantic import Field

from dacformer import audio as sound
from dacformer.codec import DacFile, read_dac, write_dac
from dacformer.codec.dac_file import DAC_SUFFIX
from dacformer.config import NonNegative, Positive, SamplingConfig, Settings, parse_config
from dacformer.display.html import audio_html
from dacformer.errors import UserError, first_line
from dacformer.files import check_writable, replacing, replacing_files, write_text
from dacformer.generation import controls as steering
from dacformer.generation.controls import Controls, SampledControls
from dacformer.generation.sampling import parse_sampling
from dacformer.plain_yaml import parse_typed_yaml

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dacformer.generation.synthesizer import Synthesizer

AUDIO_FILE, CODES_FILE, PICTURE_FILE = "audio.wav", "codes.dac", "picture.png"
CONTROLS_FILE, RECIPE_FILE = "controls.yaml", "recipe.yaml"


@dataclass(frozen=True, eq=False)
class Take:
    """Sound, its codes, and how it came about. In a notebook it shows a player.

    A take never changes. What is done to it makes a new one that knows its parent, in code space: nothing is encoded
    again, and no more is decoded than what changes. At a seam that is the end of what was there, as far as the codec's
    decoder looks ahead (116 ms of `small`); the audio before it stays bit for bit, and all codes do.

    Attributes:
        pieces: The audio, `(n,)` float32 each, to be laid end to end; shared with the takes it was made from.
        codes: `(K, T)` int64.
        controls: What steered it, in the take's own time, see `controls.Controls`.
        sample_rate: In Hz.
        hop_length: Samples per frame.
        recipe: What made it: checkpoint, codec, controls, sampling, seed, prompt, and each edit since.
        synth: What goes on from it; None where it was opened without a model.
        parent: The take that it was made from.
        children: The takes that were made from it.
    """

    pieces: tuple[np.ndarray, ...] = dataclasses.field(repr=False)
    codes: np.ndarray = dataclasses.field(repr=False)
    controls: Controls
    sample_rate: int
    hop_length: int
    recipe: dict[str, Any]
    synth: "Synthesizer | None" = dataclasses.field(default=None, repr=False)
    parent: "Take | None" = dataclasses.field(default=None, repr=False)
    children: "list[Take]" = dataclasses.field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if self.parent is not None:
            self.parent.children.append(self)

    @property
    def audio(self) -> np.ndarray:
        """`(N,)` float32, laid together each time it is asked for."""
        return np.concatenate(self.pieces)

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.codes.shape[1] * self.hop_length / self.sample_rate

    @property
    def curves(self) -> SampledControls:
        """What steered each frame, each `(T,)` in its own units; NaN where it was open, and while a prompt is heard."""
        frames = np.arange(self.codes.shape[1])
        curves = steering.curves_at(self.controls, frames * self.hop_length / self.sample_rate)
        prompt = frames < self.recipe["prompt_frames"]
        return SampledControls(
            *(
                {name: np.where(prompt, np.nan, curve) for name, curve in each.items()}
                for each in (curves.weights, curves.parameters)
            )
        )

    def extend(
        self,
        seconds: float,
        controls: Controls | None = None,
        seed: int | None = None,
        progress: bool = False,
        **sampling: Any,
    ) -> "Take":
        """Goes on from its end.

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
        return self._player().continue_take(self, 1, seconds, controls, seed, progress, **sampling)[0]

    def branch(
        self,
        n: int,
        seconds: float,
        controls: Controls | None = None,
        seed: int | None = None,
        progress: bool = False,
        **sampling: Any,
    ) -> "Branches":
        """Continuations to choose from, made side by side.

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
        return Branches(self._player().continue_take(self, n, seconds, controls, seed, progress, **sampling))

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
        return self._player().cut(self, at_seconds)

    def loop(self, seconds: float, n: int = 4, progress: bool = False) -> "Take":
        """A piece whose end leads into its beginning; in a notebook it plays round and round.

        The take is made longer if it has to be, so that there is something to choose from; the piece is where the two
        ends are most alike (see `generation.loop`), and is decoded in a circle. Of a take whose controls move, the
        piece may be one where they do not come back.

        Args:
            seconds: Its length, rounded to frames.
            n: Continuations to choose from, where the take has to be longer.
            progress: Show a bar.

        Returns:
            The loop.

        Raises:
            UserError: Shorter than 0.2 s, or as in `extend`.
        """
        return self._player().extract_loop(self, seconds, n, progress)

    def undo(self) -> "Take":
        """The take that this one was made from; this one stays among its `children`.

        Raises:
            UserError: It was made from none.
        """
        if self.parent is None:
            raise UserError("There is nothing to undo: this take was not made from another one.")
        return self.parent

    @property
    def history(self) -> "History":
        """All takes that were made from the same first one; in a notebook, a tree of players."""
        return History(self)

    @property
    def loops(self) -> bool:
        """Whether its end leads into its beginning."""
        return self.recipe["edits"][-1].get("edit") == "loop"

    def save(self, path: str | Path) -> Path:
        """Writes it, with its recipe: as sound, as codes, or as a folder with all that there is.

        A recipe that is too long for a sound file's comment goes into a `.json` beside it.

        Args:
            path: The suffix chooses: `.dac`, any sound format, or none for a folder, which `load_take` gives back
                exactly: sound (32-bit float `.wav`), codes, controls, recipe, picture.

        Returns:
            The path.

        Raises:
            UserError: As in `check_savable`, or there is no room.
        """
        path, recipe = Path(path), json.dumps(self.recipe)
        if path.suffix.lower() == DAC_SUFFIX:
            return write_dac(path, self._dac(recipe))
        if not path.suffix:
            return self._save_folder(path)
        fits = len(recipe) <= sound.MAX_COMMENT
        if not fits:
            _write_beside(path.with_suffix(".json"), recipe)
        return sound.write_audio(path, self.audio, self.sample_rate, comment=recipe if fits else None)

    def _dac(self, recipe: str) -> DacFile:
        audio = self.audio
        return DacFile(
            codes=self.codes[None],
            sample_rate=self.sample_rate,
            original_length=len(audio),
            input_db=sound.loudness_db(audio, self.sample_rate),  # as heard: decoding restores exactly this
            chunk_length=self.codes.shape[1],
            codec=self.recipe["codec"],
            recipe=recipe,
        )

    def _save_folder(self, folder: Path) -> Path:
        check_savable(folder)
        # All is written beside an older take before any of it is replaced: a full disk leaves that one as it was.
        with replacing_files(folder) as part:
            recipe = {name: value for name, value in self.recipe.items() if name != "controls"}
            write_text(part / RECIPE_FILE, yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
            plain = steering.to_json(self.controls)
            write_text(part / CONTROLS_FILE, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
            write_dac(part / CODES_FILE, self._dac(json.dumps(self.recipe)))
            sound.write_audio(part / AUDIO_FILE, self.audio, self.sample_rate, subtype="FLOAT")
            with replacing(part / PICTURE_FILE) as picture:
                self.plot().savefig(picture, dpi=150, format="png")
        return folder

    def plot(self) -> "Figure":
        """Waveform, spectrogram and controls, one above the other, on one axis of time."""
        from dacformer.display.audio_plots import plot_steered_sound

        return plot_steered_sound(self.audio, self.sample_rate, self.curves.labelled())

    def _player(self) -> "Synthesizer":
        if self.synth is None:
            raise UserError(
                "This take was opened without a model, which alone can change it. Use synth.load_take(path)."
            )
        return self.synth

    def __repr__(self) -> str:
        return f"<Take of {self.seconds:.2f} s, seed {self.recipe.get('seed')}, {dict(self.controls)}>"

    def _repr_html_(self) -> str:
        return audio_html(self.audio, self.sample_rate, loop=self.loops)


class Branches(list[Take]):
    """Takes to choose from: in a notebook, a player each."""

    def _repr_html_(self) -> str:
        return "".join(f"<div>[{number}] {take._repr_html_()}</div>" for number, take in enumerate(self))


def check_savable(path: str | Path) -> None:
    """Refuses a place where `Take.save` could not write, before anything is generated.

    Args:
        path: As for `Take.save`.

    Raises:
        UserError: A suffix that is no sound format, a folder that holds something else, or as in `check_writable`.
    """
    path = Path(path)
    if path.suffix:
        check_writable(path)
        if path.suffix.lower() != DAC_SUFFIX:
            sound.format_of(path)
        return
    check_writable(path / RECIPE_FILE)
    if (
        path.exists()
        and not (path / RECIPE_FILE).is_file()
        and any(not each.name.startswith(".") for each in path.iterdir())
    ):
        raise UserError(f"{path} holds something else than a take. Give a new folder.")


def _write_beside(path: Path, recipe: str) -> None:
    """Writes a recipe that is too long for a comment; takes no place but that of another recipe."""
    if path.exists():
        try:
            parse_recipe(path.read_text(encoding="utf-8"), str(path))
        except (UserError, OSError, UnicodeDecodeError):
            raise UserError(f"{path}, where the recipe is to go, is something else. Give another name.") from None
    write_text(path, recipe)


class Edit(Settings):
    """One thing that was done to a take."""

    edit: Literal["generate", "prompt", "extend", "branch", "cut", "loop"]
    seconds: Positive | None = None
    at_seconds: NonNegative | None = None
    seed: int | None = None
    prompt: str | None = None
    controls: dict[str, Any] = {}
    sampling: dict[str, Any] = {}


class Recipe(Settings):
    """What a recipe in a file must have."""

    checkpoint: str
    codec: str
    controls: dict[str, Any] = {}
    sampling: dict[str, Any]
    seed: int
    take: Annotated[int, Field(ge=0)] = 0
    seconds: Positive
    prompt: str | None = None
    prompt_frames: Annotated[int, Field(ge=0)] = 0
    edits: Annotated[tuple[Edit, ...], Field(min_length=1)]


def parse_recipe(recipe: str | dict[str, Any], name: str) -> dict[str, Any]:
    """Checks a recipe that was read from a file: every part of it, here and nowhere else.

    Args:
        recipe: As JSON, or as a tree.
        name: Of the file.

    Returns:
        The recipe, as `Take` has it.

    Raises:
        UserError: There is none (the codes came from elsewhere), or a part is missing or impossible. Whether a model
            knows what it names is for `Synthesizer.load_take`.
    """
    try:
        tree = json.loads(recipe) if isinstance(recipe, str) else recipe
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        raise UserError(f"{name} tells no recipe: it is no take. To go on from it, use synth.continue_from.")
    parsed = parse_config(tree, name, Recipe)
    try:
        for part in (parsed, *parsed.edits):
            steering.check_values(steering.from_json(part.controls))
            parse_sampling(SamplingConfig(), part.sampling)
    except UserError as error:
        raise UserError(f"{name}: its recipe cannot be followed. {error}") from None
    edits = [edit.model_dump(mode="json", exclude_unset=True, exclude_none=True) for edit in parsed.edits]
    return parsed.model_dump(mode="json") | {"edits": edits}


class History:
    """A tree of takes, the parents above their children: `take.history[2]` is the one with number 2.

    Attributes:
        takes: In the order of the tree.
        current: The take that was asked.
    """

    def __init__(self, current: Take) -> None:
        """Walks the tree that a take is in."""
        root = current
        while root.parent is not None:
            root = root.parent
        self.current = current
        self._depths = list(_walk(root, 0))
        self.takes = [take for take, _ in self._depths]

    def __len__(self) -> int:
        return len(self.takes)

    def __getitem__(self, number: int) -> Take:
        return self.takes[number]

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        return [
            f"{'   ' * depth}{number}: {_what_was_done(take)}, {take.seconds:.2f} s{' ◀' * (take is self.current)}"
            for number, (take, depth) in enumerate(self._depths)
        ]

    def _repr_html_(self) -> str:
        label = "flex: 0 0 auto; min-width: 24em; margin: auto 0; white-space: pre"
        rows = [
            f'<div style="display: flex; gap: 1em"><pre style="{label}">{html.escape(line)}</pre>'
            f'<div style="flex: 0 0 20em">{take._repr_html_()}</div></div>'
            for line, take in zip(self._lines(), self.takes, strict=True)
        ]
        return "".join(rows)


def _walk(take: Take, depth: int) -> Iterator[tuple[Take, int]]:
    """Depth first, without recursion: a session may be a thousand edits deep."""
    waiting = [(take, depth)]
    while waiting:
        take, depth = waiting.pop()
        yield take, depth
        waiting += [(child, depth + 1) for child in reversed(take.children)]


def _what_was_done(take: Take) -> str:
    last = take.recipe["edits"][-1]
    told = [f"{name}={last[name]:g}" for name in ("seconds", "at_seconds", "seed") if name in last]
    return " ".join([str(last.get("edit")), *told])


def read_take(folder: str | Path, synth: "Synthesizer | None" = None) -> Take:
    """Opens a folder that `Take.save` wrote.

    Args:
        folder: The folder.
        synth: What goes on from it. `Synthesizer.load_take` also checks that it can.

    Returns:
        The take, as it was saved; its parent is forgotten.

    Raises:
        UserError: A file is missing, damaged, or does not fit the others.
    """
    folder = Path(folder)
    if not (folder / RECIPE_FILE).is_file():
        raise UserError(f"{folder} is no take's folder: it has no {RECIPE_FILE}. Make one with take.save(folder).")
    tree = _read_yaml(folder / RECIPE_FILE) | {"controls": _read_yaml(folder / CONTROLS_FILE)}
    recipe = parse_recipe(tree, str(folder / RECIPE_FILE))
    file = read_dac(folder / CODES_FILE)
    try:
        audio, sample_rate = soundfile.read(folder / AUDIO_FILE, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise UserError(f"{folder / AUDIO_FILE} cannot be read as audio: {error.error_string}") from error
    hop_length, rest = divmod(len(audio), file.num_frames)
    if rest or audio.ndim > 1 or len(audio) != file.original_length or file.codec != recipe["codec"]:
        raise UserError(
            f"In {folder}, {AUDIO_FILE}, {CODES_FILE} and {RECIPE_FILE} are not of one take. Save it again."
        )
    controls = steering.from_json(recipe["controls"])
    return Take((audio,), file.codes[0], controls, sample_rate, hop_length, recipe, synth)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = parse_typed_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as YAML: {first_line(error)}.") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path} holds {type(tree).__name__}, expected names and values, as take.save writes them.")
    return tree
