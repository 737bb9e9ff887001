"""A session: the tree of takes that edits make, kept in memory, in a folder or in a key-value store."""

import threading
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from dacformer.arguments import check_seed, finite_number, whole_number
from dacformer.codec import DacFile, read_dac
from dacformer.codec.dac_file import DAC_SUFFIX
from dacformer.errors import UserError, shown
from dacformer.files import check_writable
from dacformer.generation.controls import AnyControls, Controls
from dacformer.generation.history import History
from dacformer.generation.instrument import Instrument
from dacformer.generation.looping import find_loop
from dacformer.generation.original import OriginalAudio
from dacformer.generation.recipe import Cut, Extend, Loop, Prompt, Recipe, parse_recipe
from dacformer.generation.render import generate_takes, render, render_loop
from dacformer.generation.sampling import Sampling, delay_changes
from dacformer.generation.session_store import Store, as_store, read_parent, read_stored, take_ids, write_take
from dacformer.generation.stream import CodeStream
from dacformer.generation.take import Take, read_take

LOOP_CHOICE_SECONDS = 4.0  # a loop is cut from a take that is at least this much longer
MIN_LOOP_SECONDS = 0.2


class Session:
    """Tree of takes, and the edits that add takes to it. It is the `TakeEditor` of its takes.

    Takes never change and edits only add takes. So two threads, or two processes that share a store, may edit the same
    take. The result is two branches.

    Attributes:
        instrument: The model and codec that generate and decode takes.
    """

    def __init__(self, instrument: Instrument, store: Store | str | Path | None = None) -> None:
        """Creates a session, or opens a stored one.

        Args:
            instrument: The model and codec that generate and decode takes.
            store: A folder or a key-value store. Each new take is written to it as soon as it is made. If None,
                takes are held in memory only.
        """
        self.instrument = instrument
        if isinstance(store, str | Path):
            check_writable(Path(store) / "take.dac")
        self._store = None if store is None else as_store(store)
        self._takes: dict[str, Take] = {}
        self._stored_parents: dict[str, str | None] = {}  # of takes that are only in the store, as far as they are read
        self._lock = threading.RLock()
        self._latest: tuple[str, CodeStream] | None = None  # id of the newest take, and the stream at its end

    def ids(self) -> list[str]:
        """Ids of all takes, including those that another process has stored."""
        stored = [] if self._store is None else take_ids(self._store)
        with self._lock:
            return sorted({*self._takes, *stored})

    def take(self, take_id: str) -> Take:
        """Returns a take by its id. A take that this process has not made is read from the store and decoded.

        Raises:
            UserError: The take does not exist or is damaged.
        """
        with self._lock:
            if take_id in self._takes:
                return self._takes[take_id]
        if self._store is None:
            raise UserError(f"The session has no take {shown(take_id)}.")
        stored = read_stored(self._store, take_id)
        take = self._open_dac(stored.file, f"{take_id}.dac")
        take = replace(take, id=take_id, parent_id=stored.parent_id, original=stored.original, editor=self)
        with self._lock:
            return self._takes.setdefault(take_id, take)

    def save(self, store: Store | str | Path) -> None:
        """Copies all takes into a store: a folder, or a mapping from text to bytes.

        Raises:
            UserError: The store cannot be written.
        """
        target = as_store(store)
        there = set(take_ids(target))
        for take_id in self.ids():
            if take_id not in there:
                write_take(target, self.take(take_id))

    def add(self, take: Take, parent: Take | None = None, stream: CodeStream | None = None) -> Take:
        """Adds a take to the session and to its store.

        Args:
            take: A rendered take.
            parent: The take of this session that it was made from, if any.
            stream: The stream that generated the take and stands at its end. It must hold this take only (batch size
                1). The next `extend` of the take continues it.

        Returns:
            The same take with its parent set and this session as its editor.
        """
        take = replace(take, parent_id=None if parent is None else parent.id, editor=self)
        with self._lock:  # first, so that a take that cannot be stored is not lost
            self._takes[take.id] = take
            if stream is not None:
                self._latest = take.id, stream
        if self._store is not None:
            write_take(self._store, take)
        return take

    def generate(
        self,
        seconds: float,
        controls: AnyControls | None = None,
        seed: int = 0,
        progress: bool = False,
        **sampling: Any,
    ) -> Take:
        """Generates a take from an empty start, see `Synthesizer.generate`."""
        parsed = [Controls.of(controls)]
        (take,), stream = generate_takes(self.instrument, seconds, parsed, seed, progress, sampling)
        return self.add(take, stream=stream)

    def prompt(
        self,
        prompt: str | Path | np.ndarray | DacFile,
        seconds: float,
        controls: AnyControls | None = None,
        seed: int = 0,
        progress: bool = False,
        **changes: Any,
    ) -> Take:
        """Continues a sound or codes, see `Synthesizer.continue_from`."""
        seed, parsed = check_seed(seed), Controls.of(controls)
        self.instrument.num_frames(seconds)
        parsed.check(self.instrument.conditions)
        self.instrument.parse_sampling(changes)
        codes = torch.as_tensor(self.instrument.prompt_codes(prompt), device=self.instrument.device)[None]  # (1, K, T)
        name = str(prompt) if isinstance(prompt, str | Path) else "codes"
        prompt_seconds = codes.shape[-1] / self.instrument.info.frame_rate
        recipe = Recipe(
            checkpoint=self.instrument.checkpoint.identity,
            codec=self.instrument.info.codec,
            controls=parsed.delayed(prompt_seconds),
            sampling=self.instrument.parse_sampling(delay_changes(changes, prompt_seconds)),
            seed=seed,
            seconds=prompt_seconds,
            prompt=name,
            prompt_frames=codes.shape[-1],
            edits=(Prompt(prompt=name),),
        )
        (take,) = render(self.instrument, codes, [recipe])
        if isinstance(prompt, str | Path) and Path(prompt).suffix.lower() != DAC_SUFFIX:
            take = replace(take, original=OriginalAudio.read(prompt))
        return self.extend(self.add(take), seconds, progress=progress)

    def open(self, path: str | Path) -> Take:
        """Reads a take so that it can be edited, see `Synthesizer.load_take`."""
        path = Path(path)
        if path.suffix.lower() == DAC_SUFFIX:
            take = self._open_dac(read_dac(path), str(path))
        else:
            take = read_take(path)
            recipe = self._check_read(take.codes, take.recipe.codec, take.recipe, str(path))
            take = replace(take, recipe=recipe)
        if take.recipe.checkpoint != self.instrument.checkpoint.identity:
            warnings.warn(
                f"{path} was made with {take.recipe.checkpoint}; {self.instrument.checkpoint.identity} goes on from it",
                stacklevel=3,
            )
        return self.add(take)

    def extend(
        self,
        take: Take,
        seconds: float,
        controls: AnyControls | None = None,
        seed: int | None = None,
        progress: bool = False,
        **sampling: Any,
    ) -> Take:
        """Continues a take at its end, see `Take.extend`."""
        return self._continue("extend", take, 1, seconds, controls, seed, progress, sampling)[0]

    def branch(
        self,
        take: Take,
        n: int,
        seconds: float,
        controls: AnyControls | None = None,
        seed: int | None = None,
        progress: bool = False,
        **sampling: Any,
    ) -> list[Take]:
        """Continues a take several times side by side, see `Take.branch`."""
        count = _check_count(n)
        edit = "branch" if count > 1 else "extend"
        return self._continue(edit, take, count, seconds, controls, seed, progress, sampling)

    def _continue(
        self,
        edit: Literal["extend", "branch"],
        take: Take,
        n: int,
        seconds: float,
        controls: AnyControls | None,
        seed: int | None,
        progress: bool,
        changes: Mapping[str, Any],
    ) -> list[Take]:
        """Continues a take `n` times, side by side.

        Only the last `Instrument.context_frames` frames affect what follows, so at most these are fed to the model
        again. None are fed if the take is the newest one, because its stream is still open. So the number of model
        steps does not grow with the length of the take.
        """
        self._check_own(take)
        instrument, start = self.instrument, take.codes.shape[1]
        start_seconds, rate = start / instrument.info.frame_rate, instrument.info.frame_rate
        num_frames = instrument.num_frames(seconds, n)
        steering, new = take.controls, None if controls is None else Controls.of(controls)
        if new is not None:
            new.check(instrument.conditions)
            steering = steering.then(new, start_seconds)
        steering.check(instrument.conditions)
        seed = take.recipe.seed if seed is None else check_seed(seed)
        sampling = instrument.parse_sampling(delay_changes(changes, start_seconds), take.recipe.sampling)
        stream = self._stream_at_end(take, n, seed, sampling)
        times = instrument.times(start, start + num_frames)
        conditions = instrument.condition_at(steering, times).expand(n, -1, -1)
        added = stream.draw(conditions, sampling.at(times), progress)
        before = torch.as_tensor(take.codes, device=instrument.device).expand(n, -1, -1)
        done = Extend(edit=edit, seconds=num_frames / rate, seed=seed, controls=new, sampling=dict(changes))
        recipes = [
            take.recipe.after(
                done,
                checkpoint=instrument.checkpoint.identity,
                codec=instrument.info.codec,
                controls=steering,
                sampling=sampling,
                seed=seed,
                take=i,
                seconds=(start + num_frames) / rate,
            )
            for i in range(n)
        ]
        takes = render(instrument, torch.cat([before, added], dim=-1), recipes, take, start)
        takes = [replace(each, original=take.original) for each in takes]
        return [self.add(each, take, stream if n == 1 else None) for each in takes]

    def cut(self, take: Take, at_seconds: float) -> Take:
        """Keeps the beginning of a take, see `Take.cut`."""
        self._check_own(take)
        at = finite_number(at_seconds)
        if at is None or not 0.0 < at <= take.seconds:
            raise UserError(
                f"at_seconds={shown(at_seconds)}: expected a time within the take, 0 to {take.seconds:.2f}."
            )
        frames = max(1, round(at * self.instrument.info.frame_rate))
        seconds = frames / self.instrument.info.frame_rate
        prompt_frames = min(frames, take.recipe.prompt_frames)
        recipe = take.recipe.after(Cut(at_seconds=at), seconds=seconds, take=0, prompt_frames=prompt_frames)
        codes = torch.as_tensor(take.codes[None, :, :frames], device=self.instrument.device)
        (shorter,) = render(self.instrument, codes, [recipe], take, frames)
        original = take.original if prompt_frames < frames or take.original is None else take.original.first(seconds)
        return self.add(replace(shorter, original=original), take)

    def loop(self, take: Take, seconds: float, n: int = 4, progress: bool = False) -> Take:
        """Cuts a loop out of a take, see `Take.loop`."""
        self._check_own(take)
        instrument, rate = self.instrument, self.instrument.info.frame_rate
        num_frames = instrument.num_frames(loop_seconds(seconds))
        missing = num_frames / rate + LOOP_CHOICE_SECONDS - take.seconds
        n = _check_count(n)
        takes = self.branch(take, n, missing, progress=progress) if missing > 0.5 / rate else [take]
        codes = torch.as_tensor(np.stack([each.codes for each in takes]), device=instrument.device)
        which, start = find_loop(instrument.codec, codes, np.stack([each.audio for each in takes]), num_frames)
        chosen, piece = takes[which], codes[which, :, start : start + num_frames]
        controls, length = chosen.controls.from_second(start / rate), num_frames / rate
        edit = Loop(seconds=length, at_seconds=start / rate)
        recipe = chosen.recipe.after(edit, controls=controls, seconds=length, prompt_frames=0)
        return self.add(render_loop(instrument, piece, recipe), chosen)

    def parent_of(self, take: Take) -> Take | None:
        """Returns the take that a take was made from; None if it has no parent."""
        return None if take.parent_id is None else self.take(take.parent_id)

    def children_of(self, take: Take) -> list[Take]:
        """Returns the takes that were made from a take by one edit."""
        return [self.take(each) for each in self._children().get(take.id, [])]

    def history_of(self, take: Take) -> History:
        """Returns the whole tree that a take belongs to."""
        children = self._children()  # once for the whole tree: a store may have to be listed for it
        return History(take, lambda parent: [self.take(each) for each in children.get(parent.id, [])])

    def _check_own(self, take: Take) -> None:
        if take.editor is not self:
            raise UserError("This take is of another session. Edit it by its own methods: take.extend(5).")

    def _children(self) -> dict[str | None, list[str]]:
        """Lists the ids of all takes by the id of their parent, in the order of `ids`."""
        children: dict[str | None, list[str]] = {}
        for take_id in self.ids():
            children.setdefault(self._parent_id(take_id), []).append(take_id)
        return children

    def _parent_id(self, take_id: str) -> str | None:
        """The parent of a take; None, with a warning, if its entry is damaged, so that the others stay usable."""
        with self._lock:
            if take_id in self._takes:
                return self._takes[take_id].parent_id
            if take_id not in self._stored_parents and self._store is not None:
                try:
                    self._stored_parents[take_id] = read_parent(self._store, take_id)
                except UserError as error:
                    warnings.warn(f"left out: {error}", stacklevel=4)
                    return None
            return self._stored_parents[take_id]

    def _stream_at_end(self, take: Take, n: int, seed: int, sampling: Sampling) -> CodeStream:
        """Returns `n` streams side by side, each at the end of a take."""
        # The open stream is taken out: only one edit may continue it, and an interrupted edit leaves it unusable.
        with self._lock:
            latest, self._latest = self._latest, None
        if n == 1 and latest is not None and latest[0] == take.id and latest[1].sampling == sampling:
            latest[1].seed = seed
            return latest[1]
        stream = self.instrument.open_stream(n, sampling, seed)
        end = take.codes.shape[1]
        start = max(0, end - self.instrument.context_frames)
        conditions = self.instrument.condition_at(take.controls, self.instrument.times(start, end))
        stream.prefill(torch.as_tensor(take.codes, device=self.instrument.device), conditions)
        return stream

    def _open_dac(self, file: DacFile, name: str) -> Take:
        recipe = parse_recipe(file.recipe, name)
        recipe = self._check_read(file.codes[0], file.codec or recipe.codec, recipe, name)
        codes = torch.as_tensor(file.codes, device=self.instrument.device)
        if isinstance(recipe.edits[-1], Loop):
            return render_loop(self.instrument, codes[0], recipe)
        return render(self.instrument, codes, [recipe])[0]

    def _check_read(self, codes: np.ndarray, codec: str, recipe: Recipe, name: str) -> Recipe:
        """Refuses codes and controls that the model does not know; returns the recipe with the length of the codes."""
        self.instrument.check_codes(codes, codec, name)
        if len(codes) != self.instrument.info.num_codebooks:
            raise UserError(
                f"{name} has {len(codes)} codebooks, and the model {self.instrument.info.num_codebooks}: it is a take "
                "of another model. To go on from its sound, use synth.continue_from."
            )
        recipe.controls.check(self.instrument.conditions)
        frames = codes.shape[1]
        seconds, prompt_frames = frames / self.instrument.info.frame_rate, min(frames, recipe.prompt_frames)
        return recipe.model_copy(update={"seconds": seconds, "prompt_frames": prompt_frames})


def _check_count(n: object) -> int:
    count = whole_number(n)
    if count is None or count < 1:
        raise UserError(f"{shown(n)} continuations were asked for: expected at least 1.")
    return count


def loop_seconds(seconds: object) -> float:
    """Checks the length of a loop and returns it as a float.

    Raises:
        UserError: It is not a number, or is below `MIN_LOOP_SECONDS`.
    """
    number = finite_number(seconds)
    if number is None or number < MIN_LOOP_SECONDS:
        raise UserError(f"seconds={shown(seconds)}: expected a length of {MIN_LOOP_SECONDS} or more.")
    return number
