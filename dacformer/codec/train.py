"""Trains a small `dac.DAC` from recordings and procedural textures: `python -m dacformer.codec.train PARAMS`.

The recipe is that of Kumar et al., arXiv:2306.06546: multi-scale mel, residual vector quantisation with quantiser
dropout, and, from `adversarial_from_step` on, multi-period and multi-band STFT discriminators with feature
matching. In place of its codebook loss, codebooks follow the latents by moving averages and idle entries are moved;
weights are averaged.

`B` batch, `K` codebooks, `V` codebook size, `T` frames, `N` samples.
"""

import functools
import math
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from dacformer import audio as sound
from dacformer.codec.codec import Codec, build_model, save_weights
from dacformer.codec.quality import at_level, load_recording, mel_loss, perplexity
from dacformer.config import CodecConfig, CodecTrainingConfig, load_config, save_config
from dacformer.errors import UserError
from dacformer.files import replacing
from dacformer.memory import keep_freed_memory
from dacformer.textures import TEXTURES, synthesize

if TYPE_CHECKING:
    from dac.model.dac import DAC

DITHER = 3e-5
"""Noise added in training, -90 dB: the mel loss, a logarithm, would pull at digital silence harder than at sound."""


class Pool:
    """All recordings in memory, on the training device, and random crops of them."""

    def __init__(
        self, recordings: list[np.ndarray], weights: np.ndarray, crop_samples: int, device: torch.device
    ) -> None:
        """Lays the recordings end to end.

        Args:
            recordings: Each `(N_i,)`; shorter ones than a crop are repeated to its length.
            weights: `(len(recordings),)`, how often each is drawn, relative to the others.
            crop_samples: Length of a crop.
            device: Where the crops are wanted.
        """
        recordings = [np.resize(r, max(len(r), crop_samples)) for r in recordings]
        lengths = np.array([len(r) for r in recordings])
        self._starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self._slack = lengths - crop_samples
        self._cumulative = np.cumsum(weights / weights.sum())
        self._audio = torch.from_numpy(np.concatenate(recordings).astype(np.float32, copy=False)).to(device)
        self._ramp = torch.arange(crop_samples, device=device)

    def draw(self, batch_size: int, rng: np.random.Generator) -> Tensor:
        """Draws crops `(B, 1, crop_samples)`."""
        which = np.searchsorted(self._cumulative, rng.random(batch_size)).clip(max=len(self._starts) - 1)
        offsets = self._starts[which] + np.floor(rng.random(batch_size) * (self._slack[which] + 1)).astype(np.int64)
        return self._audio[torch.from_numpy(offsets).to(self._ramp.device)[:, None] + self._ramp][:, None]


def draw_batch(pool: Pool, config: CodecTrainingConfig, step: int) -> Tensor:
    """Draws and augments the batch of a step; the same seed and step give the same batch.

    Returns:
        `(B, 1, crop_samples)`: crops, some of them two at once, at random gain and polarity, with dither, within
        [-1, 1].
    """
    rng = np.random.default_rng([config.seed, step])
    audio = pool.draw(config.batch_size, rng)
    second = rng.random(config.batch_size) < config.mix
    audio = audio + pool.draw(config.batch_size, rng) * _column(
        second * rng.uniform(0.2, 1.0, config.batch_size), audio
    )
    gain = 10.0 ** (rng.uniform(*config.gain_db, config.batch_size) / 20.0) * rng.choice([-1.0, 1.0], config.batch_size)
    dither = rng.standard_normal(audio.shape, np.float32) * DITHER
    return (audio * _column(gain, audio) + torch.from_numpy(dither).to(audio.device)).clamp(-1.0, 1.0)


def _column(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(like.device)[:, None, None]


@torch.no_grad()  # not inference mode: audiotools keeps its windows, and training needs them as well
def measure(codec: Codec, recordings: list[np.ndarray]) -> dict[str, float]:
    """Sends recordings through a codec.

    Args:
        codec: Any.
        recordings: Each `(N,)`, at the codec's rate and at `LEVEL_RMS`.

    Returns:
        `mel`, the mean mel distance, and `perplexity_1` ... `perplexity_K`.
    """
    from audiotools import AudioSignal

    distance, rate = mel_loss(), codec.sample_rate
    distances, codes = [], []
    for recording in recordings:
        audio = torch.from_numpy(recording)[None, None].to(codec.device)
        codes.append(codec.encode(audio))
        decoded = codec.decode(codes[-1])[..., : audio.shape[-1]]
        distances.append(float(distance(AudioSignal(decoded, rate), AudioSignal(audio, rate))))
    used = perplexity(torch.cat(codes, dim=-1), codec.codebook_size)
    return {"mel": float(np.mean(distances))} | {f"perplexity_{k + 1}": float(p) for k, p in enumerate(used)}


def gather_recordings(config: CodecTrainingConfig) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray]]:
    """Reads all that the settings name, on all cores.

    Returns:
        The recordings to train on, each `(N,)`; how often each is drawn; the recordings held out.
    """
    rate = config.codec.sample_rate
    train: list[np.ndarray] = []
    weights: list[float] = []
    held_out: list[np.ndarray] = []
    with ProcessPoolExecutor(os.cpu_count()) as cores:

        def load(jobs: list[tuple[Path, float]]) -> list[np.ndarray]:
            paths, speeds = zip(*jobs, strict=True)
            return list(cores.map(load_recording, paths, [rate] * len(jobs), speeds, chunksize=8))

        for source in config.sounds:
            training, held = sound.split_by_recording(
                sound.find_audio(source.folder, source.exclude), source.held_out, config.seed
            )
            if not training:
                raise UserError(f"Nothing of {source.folder} is left to train on. See its 'exclude' and 'held_out'.")
            loaded = load([(path, speed) for path in training for speed in config.speeds])
            train += loaded
            weights += [source.weight / len(loaded)] * len(loaded)
            held_out += load([(path, 1.0) for path in held]) if held else []
        if config.texture_weight and config.textures_per_class:
            jobs = [(name, i) for name in TEXTURES for i in range(config.textures_per_class)]
            texture = functools.partial(_texture, count=config.textures_per_class, sample_rate=rate)
            train += cores.map(texture, jobs, chunksize=8)
            weights += [config.texture_weight / len(jobs)] * len(jobs)
    if not train:
        raise UserError("Nothing to train on: name folders under 'sounds', or set texture_weight above 0.")
    return train, np.array(weights), held_out


def _texture(job: tuple[str, int], count: int, sample_rate: int) -> np.ndarray:
    name, index = job
    return at_level(synthesize(name, index / max(count - 1, 1), sample_rate=sample_rate, seed=1000 + index))


class CodebookLearner:
    """Keeps codebooks where the latents are: faster than a gradient could, and with no entry left idle.

    Every entry is the moving average of the latents that chose it (van den Oord et al., arXiv:1711.00937, appendix
    A.1); an entry that hardly any choose is moved onto a latent at hand (Dhariwal et al., arXiv:2005.00341, section
    3).
    """

    def __init__(self, model: "DAC", decay: float, restart_below: float) -> None:
        """Takes the codebooks out of the optimizer's hands.

        Args:
            model: A `dac.DAC`.
            decay: Of the averages, per step.
            restart_below: Entries used less than this share of an even use are moved.
        """
        self.codebooks = [quantizer.codebook.weight.requires_grad_(False) for quantizer in model.quantizer.quantizers]
        self.decay = decay
        self.restart_below = restart_below
        first = self.codebooks[0]
        self.counts = first.new_zeros(len(self.codebooks), len(first))  # (K, V)
        self.sums = first.new_zeros(len(self.codebooks), *first.shape)  # (K, V, codebook_dim)

    @torch.no_grad()
    def update(self, codes: Tensor, latents: Tensor) -> int:
        """Learns from one step.

        Args:
            codes: `(B, K, T)`.
            latents: `(B, K * codebook_dim, T)`, what the quantisers were given.

        Returns:
            How many entries were moved.
        """
        moved = 0
        for k, given in enumerate(latents.chunk(len(self.codebooks), dim=1)):
            vectors = given.transpose(1, 2).flatten(0, 1)  # (B * T, codebook_dim)
            chosen = codes[:, k].flatten()
            counts = torch.bincount(chosen, minlength=self.counts.shape[1]).to(vectors.dtype)
            sums = torch.zeros_like(self.sums[k]).index_add_(0, chosen, vectors)
            self.counts[k].lerp_(counts, 1.0 - self.decay)
            self.sums[k].lerp_(sums, 1.0 - self.decay)
            even = self.counts[k].sum() / self.counts.shape[1]
            idle = (self.counts[k] < self.restart_below * even).nonzero()[:, 0]
            at = torch.randint(len(vectors), (len(idle),), device=vectors.device)
            self.counts[k, idle] = even
            self.sums[k, idle] = vectors[at] * even
            self.codebooks[k].copy_(self.sums[k] / self.counts[k, :, None].clamp_min(1e-12))
            moved += len(idle)
        return moved


def train(config: CodecTrainingConfig, resume: bool = False) -> Path:
    """Trains a codec; leaves `<name>.safetensors` (averaged weights) in the run, again at every `save_every`.

    Args:
        config: Everything.
        resume: Go on from the run's last saved state.

    Returns:
        The weight file.

    Raises:
        UserError: Nothing to train on, or nothing to resume.
    """
    from audiotools import AudioSignal
    from torch.utils.tensorboard import SummaryWriter

    from dacformer.codec.discriminator import Adversary

    keep_freed_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    state_file, weight_file = config.run / "train_state.pt", config.run / f"{config.name}.safetensors"
    if resume and not state_file.is_file():
        raise UserError(f"There is nothing to resume in {config.run}: no {state_file.name}. Leave --resume out.")
    if not resume and state_file.is_file():
        raise UserError(f"{config.run} already holds a training. Use --resume, or another folder: run=runs/NAME")
    recordings, weights, held_out = gather_recordings(config)
    pool = Pool(recordings, weights, config.crop_samples, device)
    seconds = sum(map(len, recordings)) / config.codec.sample_rate
    print(f"{len(recordings)} recordings ({seconds / 60:.1f} min) to train on, {len(held_out)} held out; {device}")
    save_config(config, config.run / "config.yaml")
    board = SummaryWriter(str(config.run))

    torch.manual_seed(config.seed)
    if config.compile:
        compile_snake()
    model = build_model(config.codec).to(device).train()
    adversary = Adversary(config, device) if config.adversarial_from_step < config.steps else None
    averaged = {key: value.clone() for key, value in model.state_dict().items()}
    codebooks = CodebookLearner(model, config.codebook_decay, config.restart_below)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, betas=(0.8, 0.99), lr=config.learning_rate)
    spectral = mel_loss()
    step = 0
    if resume:
        state = torch.load(state_file, map_location=device, weights_only=True)
        step = state["step"]
        model.load_state_dict(state["model"])
        if adversary and state["adversary"]:
            adversary.load_state_dict(state["adversary"])
        optimizer.load_state_dict(state["optimizer"])
        averaged = state["averaged"]
        codebooks.counts, codebooks.sums = state["codebooks"]["counts"], state["codebooks"]["sums"]

    progress = tqdm(range(step + 1, config.steps + 1), initial=step, total=config.steps, unit="step", mininterval=5)
    for step in progress:
        torch.manual_seed(config.seed + step)  # quantiser dropout and moved entries: the same after --resume
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        audio = draw_batch(pool, config, step)
        z, codes, latents, commitment, _ = model.quantizer(model.encoder(audio))
        real, fake = AudioSignal(audio, model.sample_rate), AudioSignal(model.decoder(z), model.sample_rate)
        losses = {
            "mel": spectral(fake, real),
            "waveform": F.l1_loss(fake.audio_data, audio),
            "commitment": commitment.mean(),
        }
        total = (
            config.mel_weight * losses["mel"]
            + config.waveform_weight * losses["waveform"]
            + config.commitment_weight * losses["commitment"]
        )
        if adversary and step > config.adversarial_from_step:
            losses |= adversary.judge(fake, real, learning_rate(config, step) / config.learning_rate)
            total = (
                total + config.adversarial_weight * losses["adversarial"] + config.feature_weight * losses["feature"]
            )
        optimizer.zero_grad()
        total.backward()
        losses["gradient"] = nn.utils.clip_grad_norm_(learned, 100.0)
        optimizer.step()
        moved = codebooks.update(codes, latents)
        decay = min(config.ema_decay, step / (step + 10.0))
        torch._foreach_lerp_(list(averaged.values()), list(model.state_dict().values()), 1.0 - decay)

        if step % 100 == 0:
            for name, value in losses.items():
                board.add_scalar(f"train/{name}", float(value), step)
            board.add_scalar("train/moved_entries", moved, step)
            progress.set_postfix(mel=f"{float(losses['mel']):.3f}", moved=moved)
        if held_out and (step % config.validate_every == 0 or step == config.steps):
            codec = _codec(config.codec, averaged, device)
            figures = measure(codec, held_out)
            progress.write(f"step {step}: " + "  ".join(f"{name} {value:.3f}" for name, value in figures.items()))
            for name, value in figures.items():
                board.add_scalar(f"held_out/{name}", value, step)
            sample = torch.from_numpy(held_out[step // config.validate_every % len(held_out)])[None, None]
            board.add_audio("held_out/original", sample[0], step, config.codec.sample_rate)
            board.add_audio(
                "held_out/decoded", codec.decode(codec.encode(sample))[0].cpu(), step, config.codec.sample_rate
            )
        if step % config.save_every == 0 or step == config.steps:
            save_weights(weight_file, config.codec, averaged)
            state = {
                "step": step,
                "model": model.state_dict(),
                "averaged": averaged,
                "codebooks": {"counts": codebooks.counts, "sums": codebooks.sums},
                "optimizer": optimizer.state_dict(),
                "adversary": adversary.state_dict() if adversary else None,
            }
            with replacing(state_file) as part:
                torch.save(state, part)
    board.close()
    return weight_file


def learning_rate(config: CodecTrainingConfig, step: int) -> float:
    """Warm-up, then half a cosine from `learning_rate` to `final_learning_rate`."""
    warm = min(1.0, step / max(config.warmup_steps, 1))
    high, low = config.learning_rate, config.final_learning_rate
    return warm * (low + (high - low) * 0.5 * (1.0 + math.cos(math.pi * step / config.steps)))


def compile_snake() -> None:
    """Compiles the activation of every `dac.DAC` in this process: in eager mode it is half of a step on a CPU."""
    from dac.nn import layers

    def snake(x: Tensor, alpha: Tensor) -> Tensor:
        return x + (alpha + 1e-9).reciprocal() * torch.sin(alpha * x).pow(2)

    layers.snake = torch.compile(snake, dynamic=True)


def _codec(config: CodecConfig, weights: dict[str, Tensor], device: torch.device) -> Codec:
    model = build_model(config)
    model.load_state_dict(weights)
    return Codec(model.to(device), identity="in-training")


def main(
    params: Annotated[Path, typer.Argument(help="Settings, such as params/codec_small.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, such as steps=200.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the run's last saved state.")] = False,
) -> None:
    """Trains a codec from folders of recordings."""
    try:
        path = train(load_config(params, overrides, CodecTrainingConfig), resume)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(f"The codec is {path}")


if __name__ == "__main__":
    typer.run(main)
