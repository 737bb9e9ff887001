"""Trains a small `dac.DAC` from recordings and procedural textures.

The recipe is that of Kumar et al., arXiv:2306.06546: multi-scale mel, residual vector quantisation with quantiser
dropout, and, from `adversarial_from_step` on, multi-period and multi-band STFT discriminators with feature
matching. In place of its codebook loss, codebooks follow the latents by moving averages and dead codes are restarted;
weights are averaged.

`B` batch, `K` codebooks, `V` codebook size, `T` frames, `N` samples.
"""

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from dacformer.codec.codec import Codec
from dacformer.codec.metrics import mel_loss, perplexity
from dacformer.codec.training.codebooks import EmaCodebooks
from dacformer.codec.training.config import CodecTrainingConfig
from dacformer.codec.training.data import CropSampler, draw_batch, gather_recordings
from dacformer.codec.weight_files import build_model, save_weights
from dacformer.config import load_config, save_config
from dacformer.errors import UserError
from dacformer.files import read_training_state, replacing, sync, training_folder
from dacformer.memory import keep_freed_memory
from dacformer.optim import WeightAverage, set_learning_rate, warmup_cosine
from dacformer.signals import StopRequest

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

CONFIG_FILE, STATE_FILE = "config.yaml", "train_state.pt"

logger = logging.getLogger(__name__)


def train(config: CodecTrainingConfig, resume: bool = False) -> Path:
    """Trains a codec; leaves `<name>.safetensors` (averaged weights) in the run, again at every `save_every`.

    Ctrl-C, SIGTERM and SIGHUP end the training after the step at hand, which is saved. After Ctrl-C the caller goes on;
    other signals are then handed on to their own handler.

    Args:
        config: All settings.
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
    crops = CropSampler(recordings, weights, config.crop_samples, device)
    minutes = sum(map(len, recordings)) / config.codec.sample_rate / 60
    logger.info(
        "%d recordings (%.1f min) to train on, %d held out; %s", len(recordings), minutes, len(held_out), device
    )
    stop = StopRequest()
    with stop.listening(), training_folder(config.run):
        _check_run(config, resume)  # again, now that no other training can come in between
        save_config(config, config.run / CONFIG_FILE)
        with contextlib.closing(SummaryWriter(str(config.run))) as board:
            trainer = CodecTrainer(config, device, board)
            if resume:
                trainer.load()
            trainer.run(crops, held_out, stop)
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


class CodecTrainer:
    """A codec in training: model, discriminators, averaged weights, codebooks and optimizer, at a step."""

    def __init__(self, config: CodecTrainingConfig, device: torch.device, board: "SummaryWriter") -> None:
        """Builds everything with fresh weights.

        Args:
            config: All settings.
            device: Where to train.
            board: Receives losses, measurements and sounds.
        """
        from dacformer.codec.training.discriminator import Adversary

        torch.manual_seed(config.seed)
        if config.compile:
            compile_snake()
        self.config, self.device, self.board = config, device, board
        self.step = 0
        self.model = build_model(config.codec).to(device).train()
        self.adversary = Adversary(config, device) if config.adversarial_from_step < config.steps else None
        self.average = WeightAverage(self.model, config.ema_decay)
        self.codebooks = EmaCodebooks(self.model, config.codebook_decay, config.restart_below)
        self.learned = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.learned, betas=(0.8, 0.99), lr=config.learning_rate)
        self.spectral = mel_loss()

    def run(self, crops: CropSampler, held_out: list[np.ndarray], stop: StopRequest) -> None:
        """Trains to the last step or until it is stopped; saves before it measures.

        Args:
            crops: What to train on.
            held_out: Recordings to measure on, each `(N,)`; none are measured if empty.
            stop: Ends the training once it has a signal.
        """
        try:
            self._train(crops, held_out, stop)
        except OSError:  # TensorBoard or the terminal could not be written, the state perhaps can
            self.save()
            raise
        if self.step < self.config.steps:
            logger.info("Stopped at step %d; go on with --resume.", self.step)

    def _train(self, crops: CropSampler, held_out: list[np.ndarray], stop: StopRequest) -> None:
        config, steps = self.config, range(self.step + 1, self.config.steps + 1)
        progress = tqdm(steps, initial=self.step, total=config.steps, unit="step", mininterval=5)
        for step in progress:
            losses = self.update(draw_batch(crops, config, step), step)
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
        """Takes one optimizer step.

        Args:
            audio: The batch, `(B, 1, crop_samples)`.
            step: Its number, counted from 1.

        Returns:
            The losses, the gradient's norm and the number of dead codes that were moved, by name.
        """
        config = self.config
        torch.manual_seed(config.seed + step)  # quantiser dropout and moved entries: the same after --resume
        rate = warmup_cosine(step, config.steps, config.warmup_steps, config.learning_rate, config.final_learning_rate)
        set_learning_rate([self.optimizer], rate)
        losses, total, codes, latents = self._losses(audio, step, rate / config.learning_rate)
        self.optimizer.zero_grad()
        total.backward()
        losses["gradient"] = nn.utils.clip_grad_norm_(self.learned, 100.0)
        self.optimizer.step()
        losses["moved_entries"] = torch.tensor(self.codebooks.update(codes, latents))
        self.average.update(step)
        self.step = step
        return losses

    def _losses(self, audio: Tensor, step: int, rate: float) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        """Losses by name, their weighted sum, codes and latents; trains the discriminators at a share of their rate."""
        from audiotools import AudioSignal

        config, model = self.config, self.model
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
            losses |= self.adversary.train_and_score(fake, real, rate)
            total = (
                total + config.adversarial_weight * losses["adversarial"] + config.feature_weight * losses["feature"]
            )
        return losses, total, codes, latents

    def measure(self, held_out: list[np.ndarray]) -> str:
        """Measures the averaged weights on recordings held out; writes figures and one of the sounds to the board.

        Args:
            held_out: Each `(N,)`; at least one.

        Returns:
            The figures as one line of text.
        """
        config, board, step = self.config, self.board, self.step
        model = build_model(config.codec)
        model.load_state_dict(self.average.weights())
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
        averaged = self.average.weights()
        save_weights(self.config.run / f"{self.config.name}.safetensors", self.config.codec, averaged)
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "averaged": averaged,
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
        """Restores what `save` wrote.

        Raises:
            UserError: It is damaged, or no step is left.
        """
        file, steps = self.config.run / STATE_FILE, self.config.steps
        try:
            state: dict[str, Any] = read_training_state(file, self.device)
            self.step = int(state["step"])
            self.model.load_state_dict(state["model"])
            if self.adversary and state["adversary"]:
                self.adversary.load_state_dict(state["adversary"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.average.load(state["averaged"])
            self.codebooks.counts, self.codebooks.sums = state["codebooks"]["counts"], state["codebooks"]["sums"]
        except Exception as error:  # a hostile or cut-off pickle can fail in any way
            problem = str(error).partition("\n")[0] or type(error).__name__
            raise UserError(f"{file} is damaged or cut off ({problem}). Start another run: run=runs/NAME") from error
        if self.step >= steps:
            raise UserError(
                f"{self.config.run} is at step {self.step} of {steps}: nothing is left to train. "
                f"Ask for more: steps={2 * self.step}"
            )


@torch.no_grad()  # not inference mode: audiotools keeps its windows, and training needs them as well
def measure(codec: Codec, recordings: list[np.ndarray]) -> dict[str, float]:
    """Encodes and decodes recordings, and compares them with the originals.

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


def compile_snake() -> None:
    """Compiles the activation of every `dac.DAC` in this process: in eager mode it is half of a step on a CPU."""
    from dac.nn import layers

    def snake(x: Tensor, alpha: Tensor) -> Tensor:
        return x + (alpha + 1e-9).reciprocal() * torch.sin(alpha * x).pow(2)

    layers.snake = torch.compile(snake, dynamic=True)
