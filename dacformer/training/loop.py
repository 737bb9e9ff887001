"""The training loop: one function, the same in a notebook, on a GPU, and under `accelerate launch` on many machines.

Every process draws its share of the same global batch, and every random choice is a function of seed and step: a run
that was resumed goes through the losses of one that was not; so does, without dropout, one spread over processes.
"""

import contextlib
import itertools
import json
import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm.auto import tqdm

from dacformer.config import Config, TrainingConfig, save_config
from dacformer.data import Excerpts, ValidationSegments, load_dataset
from dacformer.data.dataset import check_classes, unigram_nll
from dacformer.errors import UserError
from dacformer.files import write_text
from dacformer.hardware import computes_in_bfloat16
from dacformer.memory import keep_freed_memory
from dacformer.model import DACFormer
from dacformer.model.heads import nll_per_code
from dacformer.training.checkpoint import (
    Card,
    Checkpoint,
    find_checkpoint,
    list_checkpoints,
    load_state,
    prune_checkpoints,
    remove_checkpoint,
    save_checkpoint,
)
from dacformer.training.muon import Muon

METRICS_FILE = "metrics.jsonl"
FLUSH_EVERY = 10  # steps whose losses stay on the device, so that logging seldom waits for it

OnMetrics = Callable[[dict[str, float]], None]
"""Called with each line of `metrics.jsonl` as it is written."""
OnSample = Callable[[Checkpoint, Path], None]
"""Called every `sample_every` steps with the model as it is and the run's folder."""
Judge = Callable[[Checkpoint], float]
"""Called at every validation with the model as it is; the lower, the better."""


@torch.random.fork_rng(devices=[])  # dropout and fresh weights are seeded; the caller's own chance is left alone
def train(
    config: Config,
    resume: bool = False,
    overwrite: bool = False,
    on_metrics: OnMetrics | None = None,
    on_sample: OnSample | None = None,
    judge: Judge | None = None,
) -> Path:
    """Trains a model.

    Args:
        config: All settings. The run's folder receives `config.yaml`, `metrics.jsonl`, TensorBoard events, checkpoints.
        resume: Go on from the run's last whole checkpoint.
        overwrite: Start anew where the run's folder already holds a training.
        on_metrics: Hears of every step and validation (a live plot).
        on_sample: Writes samples.
        judge: Chooses the best checkpoint, as `dacformer.evaluation.FreeRunning` does; if None, the lowest validation
            NLL is the best.

    Returns:
        The run's folder.

    Raises:
        UserError: Data that cannot be trained on, a run in the way, nothing to resume, or a full disk.
    """
    keep_freed_memory()
    run, training = config.run, config.training
    dataset = load_dataset(config.data.path)
    check_classes(dataset, dataset.rows)
    # Everything is read before the run's folder is touched: data that cannot be trained on buries no older training.
    batch_size = config.data.batch_size
    excerpts = Excerpts(dataset, config.data.segment_frames, training, training.steps * batch_size)
    segments = ValidationSegments(dataset, config.data.segment_frames, training.validation_batches * batch_size)
    unigram = unigram_nll(excerpts.some_codes, segments.codes, dataset.facts.codebook_size)
    accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(split_batches=True))
    if batch_size % accelerator.num_processes:
        raise UserError(f"data.batch_size={batch_size} cannot be shared by {accelerator.num_processes} processes.")
    if accelerator.is_main_process:
        _prepare_run(config, resume, overwrite)
    accelerator.wait_for_everyone()

    torch.manual_seed(training.seed)
    card = Card(step=0, config=config, facts=dataset.facts, conditions=dataset.conditions)
    plain = card.build_model()
    saved = load_state(find_checkpoint(run, "last")) if resume else None
    if saved is not None:
        _check_resumable(saved[0], card)
        plain.load_state_dict(saved[1])  # what the average starts from; the weights as trained follow below
    model, *optimizers = accelerator.prepare(plain, *make_optimizers(plain, training))
    bare = [each.optimizer for each in optimizers]
    average = WeightAverage(model, training.ema_decay)
    step = 0
    if saved is not None:
        step = saved[0].step
        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=False)
        set_model_state_dict(model, saved[2]["model"], options=options)
        set_optimizer_state_dict(model, bare, saved[2]["optimizer"], options=options)
        del saved  # two copies of the weights and the optimizer
    if accelerator.is_main_process:
        save_config(config, run / "config.yaml")

    loader = accelerator.prepare(
        DataLoader(
            excerpts,
            batch_size=batch_size,
            sampler=range(step * batch_size, training.steps * batch_size),
            num_workers=config.data.num_workers,
        )
    )
    precision = choose_precision(training.precision, accelerator.device)
    log = _Log(run, step, training, batch_size * config.data.segment_frames, accelerator.is_main_process, on_metrics)

    def save(metrics: dict[str, float]) -> None:
        """Writes a checkpoint of the step at hand (all processes must call)."""
        weights = _on_cpu(accelerator.get_state_dict(model))
        with average.in_place():
            averaged = _on_cpu(accelerator.get_state_dict(model))
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state = {"model": weights, "optimizer": get_optimizer_state_dict(model, bare, options=options)}
        if accelerator.is_main_process:
            save_checkpoint(run, card.model_copy(update={"step": step, "metrics": metrics}), averaged, state)
            prune_checkpoints(run, training.keep_checkpoints)

    def validate_and_save() -> None:
        log.flush()  # a checkpoint never knows of a step that the log does not
        with average.in_place():
            nll = validate(model, segments, batch_size, precision, accelerator.device)
        metrics = {"val_nll": float(nll.mean()), "unigram_nll": float(unigram.mean())}
        metrics |= {f"val_nll_{k + 1}": float(value) for k, value in enumerate(nll)}
        metrics |= {f"unigram_nll_{k + 1}": float(value) for k, value in enumerate(unigram)}
        text = f"step {step}: validation NLL {metrics['val_nll']:.3f} (unigram {metrics['unigram_nll']:.3f})"
        if judge:
            if heard := current():
                metrics["free_running"] = judge(heard)
                text += f", free running {metrics['free_running']:.3f}"
            accelerator.wait_for_everyone()
        log.write(step, metrics)
        log.say(text)
        save(metrics)
        log.start_clock()

    def current() -> Checkpoint | None:
        """The model as it is, to be played by the main process (all processes must call)."""
        with average.in_place():
            weights = _on_cpu(accelerator.get_state_dict(model))  # a sharded model could not be played alone
        if not accelerator.is_main_process:
            return None
        heard = card.build_model()
        heard.load_state_dict(weights)
        now = card.model_copy(update={"step": step})
        return Checkpoint(now, heard.to(accelerator.device).eval(), f"{run.name}/{step}")

    moving = False  # whether weights are between two steps
    try:
        for batch in loader:
            rate = set_learning_rate(optimizers, training, step + 1)
            torch.manual_seed(training.seed + step + 1)  # dropout: the same after --resume
            model.train()
            with precision():
                logits = model(batch["codes"], batch["condition"], heard=batch["heard"])
            loss = _global_mean(nll_per_code(logits, batch["codes"]), batch["mask"], accelerator)
            for optimizer in optimizers:
                optimizer.zero_grad()
            accelerator.backward(loss)
            norm = _whole(accelerator.clip_grad_norm_(model.parameters(), training.gradient_clip))
            moving = True
            for optimizer in optimizers:
                optimizer.step()
            average.update(step + 1)
            step += 1
            moving = False
            log.later(step, rate, accelerator.reduce(loss.detach(), "mean"), norm)
            if step % training.validate_every == 0 or step == training.steps:
                validate_and_save()
            if on_sample and training.sample_every and step % training.sample_every == 0:
                if heard := current():
                    on_sample(heard, run)
                accelerator.wait_for_everyone()
                log.start_clock()
    except KeyboardInterrupt:  # the stop button of a notebook: keep what was learned
        if moving:
            log.say("Stopped in the middle of an update; go on from the last checkpoint with --resume.")
        else:
            log.say(f"Stopped at step {step}; go on with --resume.")
            validate_and_save()
    except OSError as error:
        raise UserError(f"{run} cannot be written ({error}). Make room, then go on with --resume.") from error
    finally:
        log.close()
    return run


class WeightAverage:
    """An exponential moving average of the weights, kept beside them (sharded as they are)."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Starts from the weights as they are; `decay` 0 makes the average the weights themselves."""
        self._parameters = list(model.parameters())
        self._averages = [parameter.detach().clone() for parameter in self._parameters]
        self._decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Moves the average towards the weights; early steps count more, so that the start is soon forgotten."""
        decay = min(self._decay, step / (step + 10.0))
        torch._foreach_lerp_(self._averages, [parameter.detach() for parameter in self._parameters], 1.0 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Puts the average in the weights' place for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, average in zip(self._parameters, self._averages, strict=True):
            held = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(held)


@torch.no_grad()
def validate(
    model: nn.Module,
    segments: ValidationSegments,
    batch_size: int,
    precision: Callable[[], torch.autocast],
    device: torch.device,
) -> Tensor:
    """Mean negative log-likelihood of the validation segments.

    Args:
        model: As it stands.
        segments: What to measure on.
        batch_size: Segments at a time.
        precision: Makes the autocast context.
        device: Where the model is.

    Returns:
        `(K,)` float64 on the CPU, nats per code.
    """
    model.eval()
    total, count = torch.zeros((), dtype=torch.float64), 0
    for batch in DataLoader(segments, batch_size=batch_size):
        batch = {key: value.to(device) for key, value in batch.items()}
        with precision():
            logits = model(batch["codes"], batch["condition"])
        nll = nll_per_code(logits, batch["codes"]) * batch["mask"][:, None]
        total = total + nll.cpu().double().sum(dim=(0, 2))  # MPS has no float64
        count += int(batch["mask"].sum())
    return total / count


def make_optimizers(model: DACFormer, training: TrainingConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of linear layers, AdamW (Loshchilov & Hutter, arXiv:1711.05101) for the rest."""
    linear = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    others = [p for p in model.parameters() if all(p is not weight for weight in linear)]
    rate, decay = training.learning_rate, training.weight_decay
    return [
        Muon(linear, lr=rate, weight_decay=decay),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], training: TrainingConfig, step: int) -> float:
    """Linear warm-up, then a cosine down to a tenth (Loshchilov & Hutter, arXiv:1608.03983).

    Args:
        optimizers: Their groups are set.
        training: Peak rate and lengths.
        step: Counted from 1.

    Returns:
        The rate.
    """
    if step <= training.warmup_steps:
        factor = step / training.warmup_steps
    else:
        done = (step - training.warmup_steps) / max(training.steps - training.warmup_steps, 1)
        factor = 0.1 + 0.45 * (1.0 + math.cos(math.pi * done))
    for group in itertools.chain.from_iterable(each.param_groups for each in optimizers):
        group["lr"] = factor * training.learning_rate
    return factor * training.learning_rate


def choose_precision(wanted: str, device: torch.device) -> Callable[[], torch.autocast]:
    """Makes autocast contexts: bf16 where asked for, or (`auto`) where the hardware computes in it."""
    enabled = wanted == "bf16" or (wanted == "auto" and computes_in_bfloat16(device.type))
    return lambda: torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def _global_mean(nll: Tensor, mask: Tensor, accelerator: Accelerator) -> Tensor:
    """The mean over all processes' codes `(B, K, T)` that `mask` `(B, T)` counts, as each process's share of it.

    Processes average their gradients, so each share is scaled up by their number.
    """
    count = accelerator.reduce(mask.sum(), "sum") * nll.shape[1]
    return (nll * mask[:, None]).sum() / count * accelerator.num_processes


def _prepare_run(config: Config, resume: bool, overwrite: bool) -> None:
    """Refuses to bury a training, and clears one away where that is wanted."""
    run = config.run
    if not resume and list_checkpoints(run):
        if not overwrite:
            raise UserError(
                f"{run} already holds a training. Use --resume, --overwrite, or another folder: run=runs/NAME"
            )
        for old in list_checkpoints(run):
            remove_checkpoint(old)
        shutil.rmtree(run / "samples", ignore_errors=True)
        for old in [run / METRICS_FILE, *run.glob("events.out.*")]:
            old.unlink(missing_ok=True)
    if resume and not list_checkpoints(run):
        raise UserError(f"There is nothing to resume in {run}: it has no whole checkpoint. Leave --resume out.")


def _check_resumable(saved: Card, card: Card) -> None:
    for what, old, new in (
        ("model", saved.config.model, card.config.model),
        ("codec", saved.facts.codec, card.facts.codec),
        ("classes and parameters", saved.conditions, card.conditions),
    ):
        if old != new:
            raise UserError(f"Cannot resume {card.config.run}: its {what} were {old}, now {new}. Start another run.")
    if saved.step >= card.config.training.steps:
        raise UserError(
            f"{card.config.run} is at step {saved.step} of {card.config.training.steps}: nothing is left to train. "
            f"Ask for more: training.steps={2 * saved.step}"
        )


def _whole(norm: Any) -> Tensor:
    """A gradient norm as a plain tensor; FSDP's is sharded."""
    return (norm.full_tensor() if isinstance(norm, DTensor) else norm).detach()


def _on_cpu(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().clone() for key, value in weights.items()}


class _Log:
    """`metrics.jsonl`, TensorBoard and the progress bar, of the main process only.

    After a resume, lines of steps that are trained again are gone.
    """

    def __init__(
        self,
        run: Path,
        step: int,
        training: TrainingConfig,
        frames_per_step: int,
        active: bool,
        on_metrics: OnMetrics | None,
    ) -> None:
        self._active, self._on_metrics, self._frames_per_step = active, on_metrics, frames_per_step
        self._learning_rate = training.learning_rate
        self._pending: list[tuple[int, float, Tensor]] = []  # step, learning rate, loss and gradient norm
        self._bar = tqdm(total=training.steps, initial=step, desc=run.name, unit="step", disable=not active)
        if active:
            path = run / METRICS_FILE
            lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
            kept = [line for line in lines if _step_of(line) <= step]
            write_text(path, "".join(f"{line}\n" for line in kept))
            self._file = path.open("a", encoding="utf-8", newline="\n")
            self._board = SummaryWriter(str(run), purge_step=step + 1)
        self.start_clock()

    def start_clock(self) -> None:
        """Forgets the time spent on anything but training."""
        self._started = time.monotonic()

    def later(self, step: int, rate: float, loss: Tensor, norm: Tensor) -> None:
        """Takes a step's figures as they lie on the device, and writes them when there are enough to wait for it."""
        self._pending.append((step, rate, torch.stack([loss, norm])))
        self._bar.update()
        if len(self._pending) == FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Writes the steps since the last time.

        Raises:
            UserError: A loss or a gradient is not finite.
        """
        if not self._pending:
            return
        figures = torch.stack([tensor for *_, tensor in self._pending]).tolist()  # waits for the device
        speed = len(self._pending) * self._frames_per_step / (time.monotonic() - self._started)
        for loss, norm in figures:
            step, rate, _ = self._pending.pop(0)
            self.write(step, {"loss": loss, "gradient_norm": norm, "learning_rate": rate, "frames_per_second": speed})
            if not math.isfinite(loss + norm):
                raise UserError(
                    f"The loss is {loss} and its gradient {norm} at step {step}: training has come apart. "
                    f"Lower training.learning_rate (now {self._learning_rate}) or gradient_clip."
                )
        self._bar.set_postfix(loss=f"{loss:.3f}", frames_per_second=f"{speed:.0f}")
        self.start_clock()

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Writes one line."""
        if not self._active:
            return
        line = {"step": step, **figures}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, value in figures.items():
            self._board.add_scalar(name, value, step)
        if self._on_metrics:
            self._on_metrics(line)

    def say(self, text: str) -> None:
        """Prints without disturbing the bar."""
        if self._active:
            self._bar.write(text)

    def close(self) -> None:
        self._bar.close()
        if self._active:
            self._file.close()
            self._board.close()


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError):  # the line that was being written when the process was killed
        return math.inf


def read_metrics(run: str | Path) -> list[dict[str, float]]:
    """All whole lines of a run's `metrics.jsonl`, oldest first."""
    path = Path(run) / METRICS_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if _step_of(line) < math.inf]
