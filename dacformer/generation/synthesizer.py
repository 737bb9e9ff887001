"""The instrument: model + conditions + codec. `load` a checkpoint, `generate` a take, `stream` for ever.

Shapes: `B` takes side by side, `K` codebooks, `T` frames, `N` samples, `C` width of a condition.
"""

import dataclasses
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from dacformer.arguments import check_seed, finite_number, whole_number
from dacformer.checkpoint import Checkpoint, load_checkpoint
from dacformer.codec import Codec, DacFile, load_codec, read_dac
from dacformer.codec.dac_file import DAC_SUFFIX, same_codec
from dacformer.config import SamplingConfig
from dacformer.data.encode import encode_file
from dacformer.errors import UserError, shown
from dacformer.generation import controls as steering
from dacformer.generation.controls import Controls
from dacformer.generation.looping import decode_circle, find_loop
from dacformer.generation.sampling import Sampling, frame_seed, guided, make_sampler, parse_sampling
from dacformer.generation.take import Take, parse_recipe, read_take
from dacformer.memory import available_memory
from dacformer.model import CompiledStep, State
from dacformer.model.heads import Sampler

MovingControls = Controls | Callable[[float], Controls]
"""Controls, or a function of the time in seconds that gives them (each a plain value then)."""

DECODED_FRAMES = 64  # decoded in one call
LOOP_CHOICE_SECONDS = 4.0  # so much longer than a loop is the take that it is cut from
MIN_LOOP_SECONDS = 0.2
SAMPLE_BYTES, FRAME_BYTES = 40, 1000  # what a take needs at most while it is made (measured: 31 a sample)
COMPILED_STREAMS = 64  # side by side on a CPU; from there on torch's matrix products win


class Synthesizer:
    """A trained model with its codec."""

    def __init__(self, checkpoint: Checkpoint, codec: Codec | None = None, device: str | torch.device = "cpu") -> None:
        """Joins a model and a codec; `load` is the usual way.

        Args:
            checkpoint: The model.
            codec: The codec that its training codes came from; loaded by the name in the checkpoint if None.
            device: Where to compute.

        Raises:
            UserError: A codec of another identity: the model's codes would be noise to it.
        """
        self.info = checkpoint.metadata.info
        if codec is None:
            codec = load_codec(self.info.codec_name, self.info.num_codebooks)
        if not same_codec(codec.identity, self.info.codec):
            raise UserError(
                f"The model speaks the codes of {self.info.codec}, but this codec is {codec.identity}: its audio "
                "would be noise. Give the codec that the data set was made with, or encode and train again."
            )
        self.info = self.info.model_copy(update={"codec": codec.identity})  # with the hash of its weights
        self.checkpoint = checkpoint
        self.conditions = checkpoint.metadata.conditions
        self.sampling = checkpoint.metadata.config.sampling
        self.codec = codec.to(device)  # first: it says what is wrong with a device
        self.model = checkpoint.model.to(device).eval()
        self.device = torch.device(device)
        self._compiled: dict[str, CompiledStep] = {}
        self._latest: tuple[Take, CodeStream] | None = None  # the take that was made last, and the stream at its end

    def compiled_step(self, precision: str) -> CompiledStep:
        """The model's step for a few streams on the CPU, made once for each precision."""
        if precision not in self._compiled:
            self._compiled[precision] = CompiledStep(self.model, int8=precision == "int8")
        return self._compiled[precision]

    def generate(
        self,
        seconds: float,
        controls: Controls | None = None,
        seed: int = 0,
        progress: bool = False,
        **sampling: Any,
    ) -> Take:
        """Makes one take.

        Args:
            seconds: Its length, above 0.
            controls: What steers it, see `controls.Controls`.
            seed: The same seed gives the same take on the same machine.
            progress: Show a bar.
            **sampling: `temperature`, `top_k`, `top_p`, `guidance` in place of the checkpoint's, see `SamplingConfig`;
                each may be a `Curve` in the take's time.

        Returns:
            The take.

        Raises:
            UserError: Unknown controls or bad values.
        """
        return self.generate_batch(seconds, [{} if controls is None else controls], seed, progress, **sampling)[0]

    def generate_batch(
        self,
        seconds: float,
        controls: Sequence[Controls],
        seed: int = 0,
        progress: bool = False,
        **sampling: Any,
    ) -> list[Take]:
        """Makes several takes of one length side by side, in little more time than one.

        Args:
            seconds: Their length.
            controls: One for each take.
            seed: Of the whole batch.
            progress: Show a bar.
            **sampling: As in `generate`.

        Returns:
            A take for each of `controls`.

        Raises:
            UserError: As in `generate`.
        """
        codes, player = self._draw(seconds, controls, seed, progress, sampling)
        takes = self.render_takes(codes, controls, player.sampling, player.seed)
        self._latest = (takes[0], player) if len(takes) == 1 else None
        return takes

    def generate_codes(
        self, seconds: float, controls: Sequence[Controls], seed: int = 0, **sampling: Any
    ) -> np.ndarray:
        """`generate_batch` without decoding: codes `(B, K, T)` int64."""
        return self._draw(seconds, controls, seed, False, sampling)[0].cpu().numpy()

    def render_takes(self, codes: Tensor, controls: Sequence[Controls], sampling: Sampling, seed: int) -> list[Take]:
        """Decodes what was drawn from an empty start, here or by a `AudioStream`.

        Args:
            codes: `(B, K, T)`.
            controls: What steered each.
            sampling: How all were drawn.
            seed: The seed of all.

        Returns:
            The takes.
        """
        made = {"edit": "generate", "seconds": codes.shape[-1] / self.info.frame_rate, "seed": seed}
        return self._takes(codes, controls, self._recipe(sampling, seed, made))

    def continue_from(
        self,
        prompt: str | Path | np.ndarray | DacFile,
        seconds: float,
        controls: Controls | None = None,
        seed: int = 0,
        progress: bool = False,
        **changes: Any,
    ) -> Take:
        """Hears a sound and goes on from it.

        Args:
            prompt: A sound file, a `.dac` file that states the model's codec (its path, or read), or codes `(K, T)`.
            seconds: Length of the continuation.
            controls: What steers the continuation (its time starts at 0 where the prompt ends); the prompt is heard
                under the controls at 0.
            seed: As in `generate`.
            progress: Show a bar.
            **changes: Of the sampling, as in `generate`.

        Returns:
            One take: the prompt, through the codec, and its continuation.

        Raises:
            UserError: A prompt that cannot be read, or as in `generate`.
        """
        seed, controls = check_seed(seed), {} if controls is None else controls
        self.num_frames(seconds)
        steering.check_controls(controls, self.conditions)
        self._parse_sampling(changes)
        heard = torch.as_tensor(self._prompt_codes(prompt), device=self.device)[None]  # (1, K, T)
        name = str(prompt) if isinstance(prompt, str | Path) else "codes"
        sampling = self._parse_sampling(steering.delayed(changes, heard.shape[-1] / self.info.frame_rate))
        asked = steering.delayed(controls, heard.shape[-1] / self.info.frame_rate)
        recipe = self._recipe(sampling, seed, {"edit": "prompt", "prompt": name})
        recipe |= {"prompt": name, "prompt_frames": heard.shape[-1]}
        (take,) = self._takes(heard, [asked], recipe)
        return take.extend(seconds, progress=progress)

    def continue_take(
        self,
        take: Take,
        n: int,
        seconds: float,
        controls: Controls | None = None,
        seed: int | None = None,
        progress: bool = False,
        **changes: Any,
    ) -> list[Take]:
        """Goes on from a take, several times side by side: `Take.extend` and `Take.branch`.

        The model looks back no further than `num_layers * (window_frames - 1)` frames, so no more than that is heard
        again, and nothing if the take was the last that was made: what it costs does not grow with the take.

        Args:
            take: Of this synthesizer's codec.
            n: How many continuations.
            seconds: Their length.
            controls: What steers them; their time starts at 0 where the take ends. The take's own go on if None.
            seed: Of the continuations; the take's own if None.
            progress: Show a bar.
            **changes: Of the take's sampling.

        Returns:
            The longer takes.

        Raises:
            UserError: As in `generate`, or `n` is not above 0.
        """
        count = whole_number(n)
        if count is None or count < 1:
            raise UserError(f"{shown(n)} continuations were asked for: expected at least 1.")
        n, start = count, take.codes.shape[1]
        num_frames = self.num_frames(seconds, n)
        asked = take.controls
        if controls is not None:
            steering.check_controls(controls, self.conditions)
            asked = steering.joined(asked, controls, start / self.info.frame_rate)
        times = np.arange(start, start + num_frames) / self.info.frame_rate
        conditions = self._conditions(asked, times).expand(n, -1, -1)
        seed = int(take.recipe["seed"]) if seed is None else check_seed(seed)
        usual = steering.from_json(take.recipe["sampling"])
        sampling = self._parse_sampling(usual | steering.delayed(changes, start / self.info.frame_rate))
        player = self._resumed(take, n, seed, sampling)
        draws = sampling.at(times)
        codes = [player.step(conditions[:, t], draws[t]) for t in _bar(num_frames, progress)]
        made = {"edit": "branch" if n > 1 else "extend", "seconds": num_frames / self.info.frame_rate, "seed": seed}
        made |= {} if controls is None else {"controls": steering.to_json(controls)}
        recipe = self._recipe(player.sampling, seed, made, take)
        made |= {"sampling": {name: recipe["sampling"][name] for name in changes}} if changes else {}
        whole = torch.as_tensor(take.codes, device=self.device).expand(n, -1, -1)
        takes = self._takes(torch.cat([whole, *codes], dim=-1), [asked] * n, recipe, take, start)
        self._latest = (takes[0], player) if n == 1 else None
        return takes

    def cut(self, take: Take, at_seconds: float) -> Take:
        """Keeps the beginning of a take: `Take.cut`.

        Args:
            take: Of this synthesizer's codec.
            at_seconds: Where it is to end, rounded to a frame.

        Returns:
            The shorter take.

        Raises:
            UserError: Not a time within the take.
        """
        at = finite_number(at_seconds)
        if at is None or not 0.0 < at <= take.seconds:
            raise UserError(
                f"at_seconds={shown(at_seconds)}: expected a time within the take, 0 to {take.seconds:.2f}."
            )
        frames = max(1, round(at * self.info.frame_rate))
        recipe = take.recipe | {"edits": [*take.recipe["edits"], {"edit": "cut", "at_seconds": at}]}
        codes = torch.as_tensor(take.codes[None, :, :frames], device=self.device)
        return self._takes(codes, [take.controls], recipe, take, frames)[0]

    def loop(
        self, seconds: float, controls: Controls | None = None, seed: int = 0, progress: bool = False, **sampling: Any
    ) -> Take:
        """Makes a loop: a take that is long enough to choose from, and of that the best piece, see `Take.loop`.

        Args:
            seconds: Its length, rounded to frames.
            controls: As in `generate`.
            seed: As in `generate`.
            progress: Show a bar.
            **sampling: As in `generate`.

        Returns:
            The loop; its parent is the take.

        Raises:
            UserError: Shorter than 0.2 s, or as in `generate`.
        """
        length = _loop_seconds(seconds)
        take = self.generate(length + LOOP_CHOICE_SECONDS, controls, seed, progress, **sampling)
        return self.extract_loop(take, length)

    def extract_loop(self, take: Take, seconds: float, n: int = 4, progress: bool = False) -> Take:
        """Cuts a loop out of a take: `Take.loop`.

        Args:
            take: Of this synthesizer's codec; made longer where it leaves too little choice.
            seconds: Length of the loop.
            n: Continuations to choose from, where the take has to be longer.
            progress: Show a bar.

        Returns:
            The loop.

        Raises:
            UserError: Shorter than 0.2 s.
        """
        num_frames, rate = self.num_frames(_loop_seconds(seconds)), self.info.frame_rate
        missing = num_frames / rate + LOOP_CHOICE_SECONDS - take.seconds
        takes = self.continue_take(take, n, missing, progress=progress) if missing > 0.5 / rate else [take]
        codes = torch.as_tensor(np.stack([each.codes for each in takes]), device=self.device)
        which, start = find_loop(self.codec, codes, np.stack([each.audio for each in takes]), num_frames)
        chosen, piece = takes[which], codes[which, :, start : start + num_frames]
        controls = steering.from_second(chosen.controls, start / rate)
        gains = self._gains(controls, np.arange(num_frames) / rate)
        at = np.arange(num_frames * self.info.hop_length) / self.info.hop_length
        audio = decode_circle(self.codec, piece) * np.interp(at, np.arange(num_frames), gains, period=num_frames)
        made = {"edit": "loop", "seconds": num_frames / rate, "at_seconds": start / rate}
        own = {"controls": steering.to_json(controls), "seconds": num_frames / rate, "prompt_frames": 0}
        return dataclasses.replace(
            chosen,
            parent=chosen,
            children=[],
            pieces=(audio.clip(-1.0, 1.0).astype(np.float32),),
            codes=piece.cpu().numpy(),
            controls=controls,
            recipe=chosen.recipe | own | {"edits": [*chosen.recipe["edits"], made]},
        )

    def load_take(self, path: str | Path) -> Take:
        """Opens a take to go on with it.

        Args:
            path: A folder or a `.dac` file that `Take.save` wrote; the sound of a `.dac` file is decoded.

        Returns:
            The take.

        Raises:
            UserError: It cannot be read, is of another codec, or was steered by what this model does not know.
        """
        path = Path(path)
        if path.suffix.lower() != DAC_SUFFIX:
            take = read_take(path, self)
            self._check_codes(take.codes, take.recipe["codec"], str(path))
        else:
            file = read_dac(path)
            recipe = parse_recipe(file.recipe, str(path))
            self._check_codes(file.codes[0], file.codec or recipe["codec"], str(path))
            codes = torch.as_tensor(file.codes, device=self.device)
            (take,) = self._takes(codes, [steering.from_json(recipe["controls"])], recipe)
        steering.check_controls(take.controls, self.conditions)
        if take.recipe["checkpoint"] != self.checkpoint.identity:
            warnings.warn(
                f"{path} was made with {take.recipe['checkpoint']}; {self.checkpoint.identity} goes on from it",
                stacklevel=2,
            )
        return take

    def stream(
        self,
        controls: MovingControls | None = None,
        chunk_seconds: float = 0.2,
        seed: int = 0,
        **sampling: Any,
    ) -> Iterator[np.ndarray]:
        """Plays for ever, in constant memory.

        Args:
            controls: Controls whose curves run in the stream's time, or a function that is asked for the controls of
                every chunk.
            chunk_seconds: Length of the pieces, rounded to whole frames; a change of controls is heard that soon, plus
                the codec's delay.
            seed: As in `generate`.
            **sampling: As in `generate`.

        Yields:
            Audio `(n,)` float32. The first piece is shorter: the codec's decoder looks a few frames ahead.

        Raises:
            UserError: As in `generate`.
        """
        draws = self._parse_sampling(sampling)
        stream = AudioStream(self, check_seed(seed), draws)
        chunk_frames = self.num_frames(chunk_seconds, name="chunk_seconds")
        if callable(controls):
            return self._stream(stream, controls, draws, chunk_frames)
        still = {} if controls is None else controls
        steering.check_controls(still, self.conditions)
        return self._stream(stream, lambda _: still, draws, chunk_frames)

    def _stream(
        self, stream: "AudioStream", controls: Callable[[float], Controls], draws: Sampling, chunk_frames: int
    ) -> Iterator[np.ndarray]:
        for first in itertools.count(0, chunk_frames):
            times = np.arange(first, first + chunk_frames) / self.info.frame_rate
            now = controls(float(times[0]))
            steering.check_controls(now, self.conditions)
            yield stream.play(now, times, draws.at(times))[1]

    def _draw(
        self, seconds: float, controls: Sequence[Controls], seed: int, progress: bool, changes: Mapping[str, Any]
    ) -> tuple[Tensor, "CodeStream"]:
        """Codes `(B, K, T)` from empty starts, and the streams at their end."""
        if isinstance(controls, Mapping) or not len(controls):
            raise UserError(f"The controls of a batch are {shown(controls)}. Expected a list, one for each take.")
        num_frames = self.num_frames(seconds, len(controls))
        for each in controls:
            steering.check_controls(each, self.conditions)
        player = CodeStream(self, len(controls), self._parse_sampling(changes), check_seed(seed))
        times = np.arange(num_frames) / self.info.frame_rate
        conditions = torch.stack([self._conditions(each, times) for each in controls])
        draws = player.sampling.at(times)
        codes = [player.step(conditions[:, t], draws[t]) for t in _bar(num_frames, progress)]
        return torch.cat(codes, dim=-1), player

    def num_frames(self, seconds: object, streams: int = 1, name: str = "seconds") -> int:
        """The frames of a length.

        Args:
            seconds: The length, above 0.
            streams: So many takes of it are to be made side by side.
            name: What the length is called in messages.

        Returns:
            The frames, at least one.

        Raises:
            UserError: No length, or the memory does not hold takes of it.
        """
        number = finite_number(seconds)
        if number is None or number <= 0.0:
            raise UserError(f"{name}={shown(seconds)}: expected a length above 0.")
        frame_bytes = SAMPLE_BYTES * self.info.hop_length + FRAME_BYTES + 12 * self.conditions.dim
        needed = frame_bytes * self.info.frame_rate  # for a second
        available = available_memory()
        if number * streams * needed > available:
            possible = available / streams / needed
            raise UserError(
                f"{name}={number:g}: {number * streams * needed / 1e9:.3g} GB of memory would be needed, and "
                f"{available / 1e9:.3g} GB are free. At most {possible:.0f} s fit now; `stream` plays on for ever in "
                "constant memory."
            )
        return max(1, round(number * self.info.frame_rate))

    def _parse_sampling(self, changes: Mapping[str, Any]) -> Sampling:
        sampling = parse_sampling(self.sampling, changes)
        make_sampler(sampling.still, self.info.num_codebooks, torch.Generator())  # refuses lists of another length
        return sampling

    def _conditions(self, controls: Controls, times: np.ndarray) -> Tensor:
        """Conditions of the frames at these times, `(T, C)`."""
        steering.check_controls(controls, self.conditions)
        return self._tensor(steering.conditions_at(controls, self.conditions, times))

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _resumed(self, take: Take, n: int, seed: int, sampling: Sampling) -> "CodeStream":
        """A stream that stands at a take's end, `n` times side by side."""
        latest, self._latest = self._latest, None  # a stream that is broken off stands nowhere
        if n == 1 and latest is not None and latest[0] is take and latest[1].sampling == sampling:
            latest[1].seed = seed
            return latest[1]
        player = CodeStream(self, n, sampling, seed)
        end = take.codes.shape[1]
        start = max(0, end - self.model.config.num_layers * (self.model.config.window_frames - 1))
        conditions = self._conditions(take.controls, np.arange(start, end) / self.info.frame_rate)
        player.prefill(torch.as_tensor(take.codes, device=self.device), conditions)
        return player

    def _prompt_codes(self, prompt: str | Path | np.ndarray | DacFile) -> np.ndarray:
        codec, name = self.info.codec, "The prompt"
        if isinstance(prompt, np.ndarray):
            codes = prompt
        elif isinstance(prompt, DacFile):
            codes, codec = prompt.codes[0], prompt.codec
        elif Path(prompt).suffix.lower() == DAC_SUFFIX:
            file, name = read_dac(prompt), str(prompt)
            codes, codec = file.codes[0], file.codec
        else:
            codes = encode_file(Path(prompt), self.codec, trim=False).codes[0]
        self._check_codes(codes, codec, name)
        return codes[: self.info.num_codebooks].astype(np.int64)

    def _check_codes(self, codes: np.ndarray, codec: str, name: str) -> None:
        if codec not in ("", self.info.codec):
            raise UserError(f"{name} holds codes of {codec}, but the model speaks those of {self.info.codec}.")
        if codes.ndim != 2 or len(codes) < self.info.num_codebooks or codes.size == 0 or codes.dtype.kind not in "ui":
            raise UserError(
                f"{name} has codes that are {codes.dtype} of shape {codes.shape}; "
                f"expected integers ({self.info.num_codebooks}, T) with T > 0."
            )
        if codes.min() < 0 or codes.max() >= self.info.codebook_size:
            raise UserError(
                f"{name} has codes from {codes.min()} to {codes.max()}; "
                f"expected 0 to {self.info.codebook_size - 1}, of {self.info.codec}."
            )
        if not codec:
            raise UserError(
                f"{name} does not say which codec made it, and codes of another one than {self.info.codec} are noise "
                f"to the model. If they are of this one, say so: --codec {self.info.codec_name}, or in Python give "
                "the codes, read_dac(path).codes[0]."
            )

    def _gains(self, controls: Controls, times: np.ndarray) -> np.ndarray:
        """Brings the classes to the level of their recordings, weighted as they are asked for: factors `(T,)`."""
        weights = steering.curves_at(controls, times).weights
        known = {name: curve.clip(min=0.0) for name, curve in weights.items() if name in self.info.level_offset_db}
        total = np.sum([np.zeros(len(times)), *known.values()], axis=0)
        amplified = np.sum(
            [np.zeros(len(times)), *(curve * self.info.level_offset_db[name] for name, curve in known.items())], axis=0
        )
        return 10.0 ** (-amplified / np.where(total > 0.0, total, 1.0) / 20.0)

    def _recipe(
        self, sampling: Sampling, seed: int, made: dict[str, Any], parent: Take | None = None
    ) -> dict[str, Any]:
        """What made a take, but for its controls and length."""
        before = {"prompt": None, "prompt_frames": 0, "edits": []} if parent is None else parent.recipe
        info = {"checkpoint": self.checkpoint.identity, "codec": self.info.codec}
        drawn = {"sampling": sampling.to_json(), "seed": seed}
        return before | info | drawn | {"edits": [*before["edits"], made]}

    def _takes(
        self,
        codes: Tensor,
        controls: Sequence[Controls],
        recipe: dict[str, Any],
        parent: Take | None = None,
        unchanged: int = 0,
    ) -> list[Take]:
        """Decodes codes `(B, K, T)` and brings each take to its classes' level.

        The first `unchanged` frames are the parent's, and so is their audio where the decoder has seen what follows.
        """
        hop, num_frames = self.info.hop_length, codes.shape[-1]
        kept = max(0, unchanged - self.codec.stream_decoder().delay_frames)
        audio = self._decode(codes, kept)
        times = np.arange(kept, num_frames) / self.info.frame_rate
        takes = []
        for i, each in enumerate(controls):
            gain = np.interp(np.arange(audio.shape[1]) / hop, np.arange(len(times)), self._gains(each, times))
            own = {"controls": steering.to_json(each), "take": i, "seconds": num_frames / self.info.frame_rate}
            take = Take(
                pieces=(*_head(parent, kept * hop), np.clip(audio[i] * gain, -1.0, 1.0).astype(np.float32)),
                codes=codes[i].cpu().numpy(),
                controls=each,
                sample_rate=self.info.sample_rate,
                hop_length=hop,
                recipe=recipe | own,
                synth=self,
                parent=parent,
            )
            takes.append(take)
        return takes

    def _decode(self, codes: Tensor, start: int) -> np.ndarray:
        """Audio `(B, N)` of codes `(B, K, T)` from a frame on, as in the whole."""
        decoder = self.codec.stream_decoder(len(codes))
        context = min(start, decoder.delay_frames)  # the decoder looks as far back as ahead
        chunks = codes[..., start - context :].split(DECODED_FRAMES, dim=-1)
        pieces = [decoder.push(chunk)[:, 0].cpu() for chunk in chunks]
        return torch.cat([*pieces, decoder.flush()[:, 0].cpu()], dim=-1).numpy()[:, context * self.info.hop_length :]


class CodeStream:
    """Streams side by side, frame by frame; with guidance each runs twice, with and without its condition."""

    def __init__(self, synth: Synthesizer, batch_size: int, sampling: Sampling, seed: int) -> None:
        self.model = synth.model
        self.sampling = sampling
        self.copies = 2 if sampling.guided else 1
        streams = batch_size * self.copies
        self.state: State = self.model.init_state(streams)
        few = synth.device.type == "cpu" and streams <= COMPILED_STREAMS
        self.draw = synth.compiled_step(sampling.still.precision) if few else self.model.step
        self.seed = seed
        self.generator = torch.Generator(synth.device)
        self.batch_size = batch_size

    def step(self, condition: Tensor, sampling: SamplingConfig) -> Tensor:
        """Draws a frame under conditions `(B, C)`: `(B, K, 1)`."""
        self.generator.manual_seed(frame_seed(self.seed, self.state.position))
        choose = make_sampler(sampling, self.model.num_codebooks, self.generator)
        if self.copies > 1:
            choose = guided(choose, sampling.guidance)
        return self.draw(self._both(condition), self.state, choose)[: self.batch_size]

    def prefill(self, codes: Tensor, conditions: Tensor) -> None:
        """Moves every stream to the end of a take, as if it had drawn it.

        Args:
            codes: `(K, T)`.
            conditions: `(t, C)`, of its last frames: as far back as the model looks, or all of them.
        """
        streams, end = self.batch_size * self.copies, codes.shape[-1]
        self.state.position = end - len(conditions)
        if self.state.position > 0:
            before = codes[:, self.state.position - 1 : self.state.position]
            self.state.previous = before.expand(streams, -1, -1).clone()
        for t, condition in zip(range(self.state.position, end), conditions, strict=True):
            self.draw(self._both(condition.expand(self.batch_size, -1)), self.state, _given(codes[:, t], streams))

    def _both(self, condition: Tensor) -> Tensor:
        unconditional = [torch.zeros_like(condition)] * (self.copies - 1)
        return torch.cat([condition, *unconditional])[:, None]  # (copies * B, 1, C)


def _given(frame: Tensor, streams: int) -> Sampler:
    """Draws what was drawn before: a frame `(K,)`, in every stream."""
    return lambda _, k: frame[k].repeat(streams)


def _head(take: Take | None, num_samples: int) -> Iterator[np.ndarray]:
    """The first samples of a take, piece by piece, without a copy."""
    for piece in take.pieces if take is not None else ():
        if num_samples > 0:
            yield piece[:num_samples]
        num_samples -= len(piece)


class AudioStream:
    """One endless stream in constant memory: draws frames and decodes them, to the sound of a take of these codes."""

    def __init__(self, synth: Synthesizer, seed: int, sampling: Sampling) -> None:
        """Starts from nothing.

        Args:
            synth: What plays.
            seed: As in `Synthesizer.generate`.
            sampling: Whether it is guided, and the precision.
        """
        self._synth = synth
        self._player = CodeStream(synth, 1, sampling, seed)
        self._decoder = synth.codec.stream_decoder()
        self._gains = np.zeros(0)  # of the frames whose sound is not complete
        self._samples = 0

    def play(
        self, controls: Controls, times: np.ndarray, sampling: Sequence[SamplingConfig]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Goes on.

        Args:
            controls: What steers; checked before.
            times: `(t,)` seconds, of the next frames.
            sampling: How each of them is drawn.

        Returns:
            The codes `(K, t)` int64, and the sound `(n,)` float32 that they complete, which lags behind them by the
            codec's delay.
        """
        synth, hop = self._synth, self._synth.info.hop_length
        condition = synth._tensor(steering.conditions_at(controls, synth.conditions, times)[None])
        frames = [self._player.step(condition[:, i], settings) for i, settings in enumerate(sampling)]
        codes = torch.cat(frames, dim=-1)
        audio = self._decoder.push(codes)[0, 0].cpu().numpy()
        first = self._samples // hop
        known = np.concatenate([self._gains, synth._gains(controls, times)])
        at = np.arange(self._samples, self._samples + len(audio)) / hop
        self._samples += len(audio)
        self._gains = known[self._samples // hop - first :]
        gain = np.interp(at, np.arange(first, first + len(known)), known)  # a jump would click
        return codes[0].cpu().numpy(), (audio * gain).clip(-1.0, 1.0).astype(np.float32)


def load(
    path: str | Path, which: str | int = "best", codec: str | Path | None = None, device: str | torch.device = "cpu"
) -> Synthesizer:
    """Loads an instrument.

    Args:
        path: A run or a checkpoint's folder.
        which: Of a run: `best`, `last`, or a step's number.
        codec: Name or path, where it is not the one that the checkpoint names.
        device: Where to compute.

    Returns:
        The synthesizer.

    Raises:
        UserError: No checkpoint, a damaged one, or another codec.
    """
    checkpoint = load_checkpoint(path, str(which))
    info = checkpoint.metadata.info
    return Synthesizer(checkpoint, load_codec(codec or info.codec_name, info.num_codebooks), device)


def _loop_seconds(seconds: object) -> float:
    number = finite_number(seconds)
    if number is None or number < MIN_LOOP_SECONDS:
        raise UserError(f"seconds={shown(seconds)}: expected a length of {MIN_LOOP_SECONDS} or more.")
    return number


def _bar(num_frames: int, show: bool) -> Iterator[int]:
    return iter(tqdm(range(num_frames), desc="generating", unit="frame", disable=not show))
