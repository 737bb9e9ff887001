"""Trains a small `dac.DAC` from recordings and procedural textures: `python -m dacformer.codec.train PARAMS`.

The recipe is that of Kumar et al., arXiv:2306.06546: multi-scale mel, residual vector quantisation with quantiser
dropout, and, from `adversarial_from_step` on, multi-period and multi-band STFT discriminators with feature
matching. In place of its codebook loss, codebooks follow the latents by moving averages and idle entries are moved;
weights are averaged.

`B` batch, `K` codebooks, `V` codebook size, `T` frames, `N` samples.
"""

import contextlib
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from dacformer.codec.codec import Codec, build_model, save_weights
from dacformer.codec.metrics import mel_loss, perplexity
from dacformer.codec.training_sounds import CropSampler, draw_batch, gather_recordings
from dacformer.config import CodecTrainingConfig, load_config, save_config
from dacformer.errors import UserError
from dacformer.files import replacing, sync, training_folder
from dacformer.memory import keep_freed_memory
from dacformer.signals import StopRequest, ending_cleanly

if TYPE_CHECKING:
    from dac.model.dac import DAC
    from torch.utils.tensorboard import SummaryWriter

CONFIG_FILE, STATE_FILE = "config.yaml", "train_state.pt"


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


class EmaCodebooks:
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

    Ctrl-C, SIGTERM and SIGHUP end the training after the step at hand, which is saved. After Ctrl-C the caller goes on;
    other signals are then handed on to their own handler.

    Args:
        config: Everything.
        resume: Go on from the run's last saved state.

    Returns:
        The weight file.

    Raises:
        UserError: Nothing to train on, nothing to resume, or a run that is in the way, in use, or cannot be written.
    """
    from torch.utils.tensorboard import SummaryWriter

    keep_freed_memory()
    _check_run(config, resume)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recordings, weights, held_out = gather_recordings(config)
    pool = CropSampler(recordings, weights, config.crop_samples, device)
    seconds = sum(map(len, recordings)) / config.codec.sample_rate
    print(f"{len(recordings)} recordings ({seconds / 60:.1f} min) to train on, {len(held_out)} held out; {device}")
    stop = StopRequest()
    with stop.listening(), training_folder(config.run):
        _check_run(config, resume)  # again, now that no other training can come in between
        save_config(config, config.run / CONFIG_FILE)
        with contextlib.closing(SummaryWriter(str(config.run))) as board:
            trainer = _Trainer(config, device, board)
            if resume:
                trainer.load()
            trainer.run(pool, held_out, stop)
    return config.run / f"{config.name}.safetensors"


def _check_run(config: CodecTrainingConfig, resume: bool) -> None:
    """Refuses to bury a training, or to go on with one that is not there or has other sizes."""
    run = config.run
    there = (run / STATE_FILE).is_file()
    if not resume and there:
        raise UserError(f"{run} already holds a training. Use --resume, or another folder: run=runs/NAME")
    if resume and not there:
        raise UserError(f"There is nothing to resume in {run}: no {STATE_FILE}. Leave --resume out.")
    if resume and (run / CONFIG_FILE).is_file():
        was = load_config(run / CONFIG_FILE, kind=CodecTrainingConfig).codec.model_dump()
        now = config.codec.model_dump()
        changes = [f"codec.{name} was {was[name]}, is now {now[name]}" for name in was if was[name] != now[name]]
        if changes:
            raise UserError(f"Cannot resume {run}: {', '.join(changes)}. Start another run: run=runs/NAME")


class _Trainer:
    """A codec in training: model, adversary, averaged weights, codebooks and optimizer, at a step."""

    def __init__(self, config: CodecTrainingConfig, device: torch.device, board: "SummaryWriter") -> None:
        """Starts from fresh weights."""
        from dacformer.codec.discriminator import Adversary

        torch.manual_seed(config.seed)
        if config.compile:
            compile_snake()
        self.config, self.device, self.board = config, device, board
        self.step = 0
        self.model = build_model(config.codec).to(device).train()
        self.adversary = Adversary(config, device) if config.adversarial_from_step < config.steps else None
        self.averaged = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.codebooks = EmaCodebooks(self.model, config.codebook_decay, config.restart_below)
        self.learned = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.learned, betas=(0.8, 0.99), lr=config.learning_rate)
        self.spectral = mel_loss()

    def run(self, pool: CropSampler, held_out: list[np.ndarray], stop: StopRequest) -> None:
        """Trains to the last step or until it is stopped; saves before it measures."""
        try:
            self._train(pool, held_out, stop)
        except OSError:  # TensorBoard or the terminal could not be written, the state perhaps can
            self.save()
            raise
        if self.step < self.config.steps:
            with contextlib.suppress(OSError):  # the terminal may be what is gone
                print(f"Stopped at step {self.step}; go on with --resume.")

    def _train(self, pool: CropSampler, held_out: list[np.ndarray], stop: StopRequest) -> None:
        config, steps = self.config, range(self.step + 1, self.config.steps + 1)
        progress = tqdm(steps, initial=self.step, total=config.steps, unit="step", mininterval=5)
        for step in progress:
            losses = self.update(draw_batch(pool, config, step), step)
            stopped, last = stop.signal is not None, step == config.steps
            measured = bool(held_out) and not stopped and (last or step % config.validate_every == 0)
            if step % config.save_every == 0 or measured or last or stopped:
                self.save()
            if stopped:
                break
            if step % 100 == 0:
                for name, value in losses.items():
                    self.board.add_scalar(f"train/{name}", float(value), step)
                progress.set_postfix(mel=f"{float(losses['mel']):.3f}", moved=int(losses["moved_entries"]))
            if measured:
                with stop.interruptible():
                    progress.write(self.measure(held_out))

    def update(self, audio: Tensor, step: int) -> dict[str, Tensor]:
        """Learns from one batch `(B, 1, crop_samples)`; gives the losses."""
        from audiotools import AudioSignal

        config, model = self.config, self.model
        torch.manual_seed(config.seed + step)  # quantiser dropout and moved entries: the same after --resume
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        z, codes, latents, commitment, _ = model.quantizer(model.encoder(audio))
        real, fake = AudioSignal(audio, model.sample_rate), AudioSignal(model.decoder(z), model.sample_rate)
        losses = {
            "mel": self.spectral(fake, real),
            "waveform": F.l1_loss(fake.audio_data, audio),
            "commitment": commitment.mean(),
        }
        total = (
            config.mel_weight * losses["mel"]
            + config.waveform_weight * losses["waveform"]
            + config.commitment_weight * losses["commitment"]
        )
        if self.adversary and step > config.adversarial_from_step:
            losses |= self.adversary.train_and_score(fake, real, learning_rate(config, step) / config.learning_rate)
            total = (
                total + config.adversarial_weight * losses["adversarial"] + config.feature_weight * losses["feature"]
            )
        self.optimizer.zero_grad()
        total.backward()
        losses["gradient"] = nn.utils.clip_grad_norm_(self.learned, 100.0)
        self.optimizer.step()
        losses["moved_entries"] = torch.tensor(self.codebooks.update(codes, latents))
        decay = min(config.ema_decay, step / (step + 10.0))
        torch._foreach_lerp_(list(self.averaged.values()), list(model.state_dict().values()), 1.0 - decay)
        self.step = step
        return losses

    def measure(self, held_out: list[np.ndarray]) -> str:
        """Sends the recordings held out through the codec as it is; gives the figures as text."""
        config, board, step = self.config, self.board, self.step
        model = build_model(config.codec)
        model.load_state_dict(self.averaged)
        codec = Codec(model.to(self.device), identity="in-training")
        result = measure(codec, held_out)
        for name, value in result.items():
            board.add_scalar(f"held_out/{name}", value, step)
        sample = torch.from_numpy(held_out[step // config.validate_every % len(held_out)])[None, None]
        decoded = codec.decode(codec.encode(sample))[0].cpu()
        board.add_audio("held_out/original", sample[0], step, config.codec.sample_rate)
        board.add_audio("held_out/decoded", decoded, step, config.codec.sample_rate)
        return f"step {step}: " + "  ".join(f"{name} {value:.3f}" for name, value in result.items())

    def save(self) -> None:
        """Writes the averaged weights, and all that `load` needs; each file whole or not at all."""
        save_weights(self.config.run / f"{self.config.name}.safetensors", self.config.codec, self.averaged)
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "averaged": self.averaged,
            "codebooks": {"counts": self.codebooks.counts, "sums": self.codebooks.sums},
            "optimizer": self.optimizer.state_dict(),
            "adversary": self.adversary.state_dict() if self.adversary else None,
        }
        with replacing(self.config.run / STATE_FILE) as part:
            try:
                torch.save(state, part)
            except RuntimeError as error:  # torch hides what the system says
                raise UserError(f"{self.config.run / STATE_FILE} could not be written. Is there room?") from error
            sync(part)

    def load(self) -> None:
        """Goes on from what `save` wrote.

        Raises:
            UserError: It is damaged, or no step is left.
        """
        file, steps = self.config.run / STATE_FILE, self.config.steps
        try:
            state: dict[str, Any] = torch.load(file, map_location=self.device, weights_only=True)
            self.step = int(state["step"])
            self.model.load_state_dict(state["model"])
            if self.adversary and state["adversary"]:
                self.adversary.load_state_dict(state["adversary"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.averaged = state["averaged"]
            self.codebooks.counts, self.codebooks.sums = state["codebooks"]["counts"], state["codebooks"]["sums"]
        except Exception as error:  # a hostile or cut-off pickle can fail in any way
            problem = str(error).partition("\n")[0] or type(error).__name__
            raise UserError(f"{file} is damaged or cut off ({problem}). Start another run: run=runs/NAME") from error
        if self.step >= steps:
            raise UserError(
                f"{self.config.run} is at step {self.step} of {steps}: nothing is left to train. "
                f"Ask for more: steps={2 * self.step}"
            )


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


def main(
    params: Annotated[Path, typer.Argument(help="Settings, such as params/codec_small.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, such as steps=200.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the run's last saved state.")] = False,
) -> None:
    """Trains a codec from folders of recordings."""
    try:
        with ending_cleanly():
            path = train(load_config(params, overrides, CodecTrainingConfig), resume)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(f"The codec is {path}")


if __name__ == "__main__":
    typer.run(main)
