"""The instrument: model + conditions + codec. `load` a checkpoint, `generate` a take, `stream` for ever.

Shapes: `B` takes side by side, `K` codebooks, `T` frames, `N` samples, `C` width of a condition.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from dacformer import audio as sound
from dacformer.codec import Codec, DacFile, load_codec, read_dac, write_dac
from dacformer.config import SamplingConfig
from dacformer.data.encode import encode_file
from dacformer.errors import UserError
from dacformer.files import write_text
from dacformer.generation import controls as steering
from dacformer.generation.controls import Controls
from dacformer.generation.sampling import Sampling, guided, make_chooser, parse_sampling
from dacformer.model import CompiledStep, State
from dacformer.training.checkpoint import Checkpoint, load_checkpoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dacformer.interfaces import Player

MovingControls = Controls | Callable[[float], Controls]
"""Controls, or a function of the time in seconds that gives them (each a plain value then)."""

PREFILL_FRAMES = 64  # frames of a prompt that are heard in one call
COMPILED_STREAMS = 16  # side by side on a CPU; from there on torch's matrix products win


@dataclass(frozen=True)
class Take:
    """Generated sound, its codes, and how it came about. In a notebook it shows a player.

    Attributes:
        audio: `(N,)` float32.
        codes: `(K, T)` int64.
        curves: What steered each frame, each `(T,)` in its own units: a class's weight under the class's name, a
            parameter's value under the parameter's; NaN while a prompt is heard.
        sample_rate: In Hz.
        hop_length: Samples per frame.
        recipe: Checkpoint, controls, sampling, seed, length, prompt: what made it.
    """

    audio: np.ndarray
    codes: np.ndarray
    curves: dict[str, np.ndarray]
    sample_rate: int
    hop_length: int
    recipe: dict[str, Any]

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.audio) / self.sample_rate

    def save(self, path: str | Path) -> Path:
        """Writes it, with its recipe: `.dac` (codes) or any sound format.

        A recipe that is too long for a sound file's comment goes into a `.json` beside it.

        Args:
            path: The suffix chooses.

        Returns:
            The path.
        """
        path, recipe = Path(path), json.dumps(self.recipe)
        if path.suffix != ".dac":
            fits = len(recipe) <= sound.MAX_COMMENT
            if not fits:
                write_text(path.with_suffix(".json"), recipe)
            return sound.write_audio(path, self.audio, self.sample_rate, comment=recipe if fits else None)
        file = DacFile(
            codes=self.codes[None],
            sample_rate=self.sample_rate,
            original_length=len(self.audio),
            input_db=sound.loudness_db(self.audio, self.sample_rate),  # as heard: decoding restores exactly this
            chunk_length=self.codes.shape[1],
            codec=self.recipe["codec"],
            recipe=recipe,
        )
        return write_dac(path, file)

    def plot(self) -> "Figure":
        """Spectrogram and controls, one above the other, on one axis of time."""
        from dacformer.pictures import plot_steered_sound

        return plot_steered_sound(self.audio, self.sample_rate, self.curves)

    def _repr_html_(self) -> str:
        from IPython.display import Audio

        return Audio(self.audio, rate=self.sample_rate, normalize=False)._repr_html_()


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
        self.facts = checkpoint.card.facts
        if codec is None:
            codec = load_codec(self.facts.codec_name, self.facts.num_codebooks)
        if codec.identity != self.facts.codec:
            raise UserError(
                f"The model speaks the codes of {self.facts.codec}, but this codec is {codec.identity}: its audio "
                "would be noise. Give the codec that the data set was made with, or encode and train again."
            )
        self.checkpoint = checkpoint
        self.conditions = checkpoint.card.conditions
        self.sampling = checkpoint.card.config.sampling
        self.codec = codec.to(device)  # first: it says what is wrong with a device
        self.model = checkpoint.model.to(device).eval()
        self.device = torch.device(device)
        self._compiled: dict[str, CompiledStep] = {}

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
        return self.generate_batch(seconds, [controls or {}], seed, progress, **sampling)[0]

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
        num_frames = self._num_frames(seconds)
        conditions = self._curves(controls, num_frames)
        player = self._player(len(controls), seed, sampling)
        draws = player.sampling.at(self._times(num_frames))
        codes = [player.step(conditions[:, t], draws[t]) for t in _bar(num_frames, progress)]
        return self._takes(torch.cat(codes, dim=-1), controls, player.sampling, seed)

    def continue_from(
        self,
        prompt: str | Path | np.ndarray,
        seconds: float,
        controls: Controls | None = None,
        seed: int = 0,
        progress: bool = False,
        **sampling: Any,
    ) -> Take:
        """Hears a sound and goes on from it.

        Args:
            prompt: A sound file, a `.dac` file of the same codec, or codes `(K, T)`.
            seconds: Length of the continuation.
            controls: What steers the continuation (its time starts at 0 where the prompt ends); the prompt is heard
                under the controls at 0.
            seed: As in `generate`.
            progress: Show a bar.
            **sampling: As in `generate`.

        Returns:
            One take: the prompt, through the codec, and its continuation.

        Raises:
            UserError: A prompt that cannot be read, or as in `generate`.
        """
        heard = torch.as_tensor(self._prompt_codes(prompt), device=self.device)[None]  # (1, K, T)
        num_frames = self._num_frames(seconds)
        conditions = self._curves([controls or {}], num_frames)
        player = self._player(1, seed, sampling, max_chunk=PREFILL_FRAMES)
        player.hear(heard, conditions[:, 0])
        draws = player.sampling.at(self._times(num_frames))
        codes = [heard, *(player.step(conditions[:, t], draws[t]) for t in _bar(num_frames, progress))]
        name = "codes" if isinstance(prompt, np.ndarray) else str(prompt)
        return self._takes(torch.cat(codes, dim=-1), [controls or {}], player.sampling, seed, name, heard.shape[-1])[0]

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
        draws = parse_sampling(self.sampling, sampling)
        voice = Voice(self, seed, draws)
        chunk_frames = max(1, round(chunk_seconds * self.facts.frame_rate))
        asked = controls if callable(controls) else lambda _: controls or {}
        for first in itertools.count(0, chunk_frames):
            times = np.arange(first, first + chunk_frames) / self.facts.frame_rate
            now = asked(float(times[0]))
            steering.check_controls(now, self.conditions)
            yield voice.play(now, times, draws.at(times))[1]

    def play(self, seed: int = 0) -> "Player":
        """Shows a player in a notebook: the sound is made while it plays, and follows its sliders.

        Args:
            seed: As in `generate`.

        Returns:
            The player; `player.take` is what was played.
        """
        from dacformer.interfaces import play

        return play(self, seed)

    def _num_frames(self, seconds: float) -> int:
        if not 0.0 < seconds < float("inf"):
            raise UserError(f"seconds={seconds}: expected a length above 0.")
        return max(1, round(seconds * self.facts.frame_rate))

    def _times(self, num_frames: int) -> np.ndarray:
        return np.arange(num_frames) / self.facts.frame_rate

    def _curves(self, controls: Sequence[Controls], num_frames: int) -> Tensor:
        """Conditions of all frames of all takes, `(B, T, C)`."""
        times = self._times(num_frames)
        for each in controls:
            steering.check_controls(each, self.conditions)
        return self._tensor(np.stack([steering.conditions_at(each, self.conditions, times) for each in controls]))

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _player(self, batch_size: int, seed: int, changes: Mapping[str, Any], max_chunk: int = 1) -> "_Player":
        return _Player(self, batch_size, parse_sampling(self.sampling, changes), seed, max_chunk)

    def _prompt_codes(self, prompt: str | Path | np.ndarray) -> np.ndarray:
        if isinstance(prompt, np.ndarray):
            codes = prompt
        elif Path(prompt).suffix == ".dac":
            file = read_dac(prompt)
            if file.codec not in ("", self.facts.codec):
                raise UserError(
                    f"{prompt} holds codes of {file.codec}, but the model speaks those of {self.facts.codec}."
                )
            codes = file.codes[0]
        else:
            codes = encode_file(Path(prompt), self.codec, trim=False).codes[0]
        if codes.ndim != 2 or len(codes) < self.facts.num_codebooks or codes.size == 0 or codes.dtype.kind not in "ui":
            raise UserError(
                f"The prompt's codes are {codes.dtype} of shape {codes.shape}; "
                f"expected integers ({self.facts.num_codebooks}, T) with T > 0."
            )
        if codes.min() < 0 or codes.max() >= self.facts.codebook_size:
            raise UserError(
                f"The prompt's codes go from {codes.min()} to {codes.max()}; "
                f"expected 0 to {self.facts.codebook_size - 1}, of {self.facts.codec}."
            )
        return codes[: self.facts.num_codebooks].astype(np.int64)

    def _gains(self, controls: Controls, times: np.ndarray) -> np.ndarray:
        """Takes back what encoding amplified the classes by, weighted as they are asked for: factors `(T,)`."""
        curves = steering.curves_at({"class": controls.get("class", {})}, times)
        known = {name: curve.clip(min=0.0) for name, curve in curves.items() if name in self.facts.gains_db}
        total = np.sum([np.zeros(len(times)), *known.values()], axis=0)
        amplified = np.sum(
            [np.zeros(len(times)), *(curve * self.facts.gains_db[name] for name, curve in known.items())], axis=0
        )
        return 10.0 ** (-amplified / np.where(total > 0.0, total, 1.0) / 20.0)

    def _takes(
        self,
        codes: Tensor,
        controls: Sequence[Controls],
        sampling: Sampling,
        seed: int,
        prompt: str | None = None,
        prompt_frames: int = 0,
    ) -> list[Take]:
        """Decodes codes `(B, K, T)` and brings each take to its classes' level."""
        decoder = self.codec.stream_decoder(len(codes))
        pieces = [decoder.push(piece)[:, 0].cpu() for piece in codes.split(PREFILL_FRAMES, dim=-1)]
        audio = torch.cat([*pieces, decoder.flush()[:, 0].cpu()], dim=-1).numpy()
        times = (np.arange(codes.shape[-1]) - prompt_frames) / self.facts.frame_rate
        takes = []
        for i, each in enumerate(controls):
            curves = steering.curves_at(each, times)
            frames = np.arange(audio.shape[1]) / self.facts.hop_length
            gain = np.interp(frames, np.arange(len(times)), self._gains(each, times))
            takes.append(
                Take(
                    audio=np.clip(audio[i] * gain, -1.0, 1.0).astype(np.float32),
                    codes=codes[i].cpu().numpy(),
                    curves={name: np.where(times < 0, np.nan, curve) for name, curve in curves.items()},
                    sample_rate=self.facts.sample_rate,
                    hop_length=self.facts.hop_length,
                    recipe={
                        "checkpoint": self.checkpoint.identity,
                        "codec": self.facts.codec,
                        "controls": steering.to_json(each),
                        "sampling": sampling.to_json(),
                        "seed": seed,
                        "take": i,
                        "seconds": audio.shape[1] / self.facts.sample_rate,
                        "prompt": prompt,
                    },
                )
            )
        return takes


class _Player:
    """Streams side by side, frame by frame; with guidance each runs twice, with and without its condition."""

    def __init__(self, synth: Synthesizer, batch_size: int, sampling: Sampling, seed: int, max_chunk: int) -> None:
        self.model = synth.model
        self.sampling = sampling
        self.copies = 2 if sampling.guided else 1
        streams = batch_size * self.copies
        self.state: State = self.model.init_state(streams, max_chunk)
        few = synth.device.type == "cpu" and streams <= COMPILED_STREAMS
        self.draw = synth.compiled_step(sampling.still.precision) if few else self.model.step
        self.generator = torch.Generator(synth.device).manual_seed(seed)
        self.batch_size = batch_size

    def step(self, condition: Tensor, sampling: SamplingConfig) -> Tensor:
        """Draws a frame under conditions `(B, C)`: `(B, K, 1)`."""
        choose = make_chooser(sampling, self.model.num_codebooks, self.generator)
        if self.copies > 1:
            choose = guided(choose, sampling.guidance)
        return self.draw(self._both(condition), self.state, choose)[: self.batch_size]

    @torch.inference_mode()
    def hear(self, codes: Tensor, condition: Tensor) -> None:
        """Takes frames `(B, K, T)` as if it had drawn them, under conditions `(B, C)`."""
        for piece in codes.split(PREFILL_FRAMES, dim=-1):
            self.model(piece.repeat(self.copies, 1, 1), self._both(condition), state=self.state)

    def _both(self, condition: Tensor) -> Tensor:
        unconditional = [torch.zeros_like(condition)] * (self.copies - 1)
        return torch.cat([condition, *unconditional])[:, None]  # (copies * B, 1, C)


class Voice:
    """One endless stream in constant memory: draws frames and decodes them, to the sound of a take of these codes."""

    def __init__(self, synth: Synthesizer, seed: int, sampling: Sampling) -> None:
        """Starts from nothing.

        Args:
            synth: What plays.
            seed: As in `Synthesizer.generate`.
            sampling: Whether it is guided, and the precision.
        """
        self._synth = synth
        self._player = _Player(synth, 1, sampling, seed, max_chunk=1)
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
        synth, hop = self._synth, self._synth.facts.hop_length
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
    path: str | Path, which: str = "best", codec: str | Path | None = None, device: str | torch.device = "cpu"
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
    checkpoint = load_checkpoint(path, which)
    facts = checkpoint.card.facts
    return Synthesizer(checkpoint, load_codec(codec or facts.codec_name, facts.num_codebooks), device)


def _bar(num_frames: int, show: bool) -> Iterator[int]:
    return iter(tqdm(range(num_frames), desc="generating", unit="frame", disable=not show))
