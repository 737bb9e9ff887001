"""The training loop: one function, the same in a notebook, on a GPU, and under `accelerate launch` on many machines.

Every process draws its share of the same global batch, and every random choice is a function of seed and step: a run
that was resumed goes through the losses of one that was not; so does, without dropout, one spread over processes.
"""

import contextlib
import itertools
import math
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
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

from dacformer.checkpoint import (
    Checkpoint,
    CheckpointMetadata,
    find_checkpoint,
    load_state,
    prune_checkpoints,
    remove_checkpoint,
    save_checkpoint,
    save_metrics,
)
from dacformer.config import Config, TrainingConfig, save_config
from dacformer.data.batches import TrainingCrops, ValidationSegments
from dacformer.data.dataset import Dataset, check_classes, load_dataset, unigram_nll
from dacformer.errors import UserError
from dacformer.files import training_folder
from dacformer.hardware import computes_in_bfloat16
from dacformer.memory import keep_freed_memory
from dacformer.model import DACFormer
from dacformer.model.heads import nll_per_code
from dacformer.signals import StopRequest, ignore_in_worker
from dacformer.training.average import WeightAverage
from dacformer.training.metrics import FLUSH_EVERY, MetricsLog, OnMetrics, came_apart, read_metrics
from dacformer.training.muon import Muon
from dacformer.training.start import check_resumable, prepare_run

OnSample = Callable[[Checkpoint, Path], None]
"""Called every `sample_every` steps with the model as it is and the run's folder."""
SelectionMetric = Callable[[Checkpoint], float]
"""Called at every validation with the model as it is; the lower, the better."""


@torch.random.fork_rng(devices=[])  # dropout and fresh weights are seeded; the caller's own chance is left alone
def train(
    config: Config,
    resume: bool = False,
    overwrite: bool = False,
    on_metrics: OnMetrics | None = None,
    on_sample: OnSample | None = None,
    selection_metric: SelectionMetric | None = None,
) -> Path:
    """Trains a model; `dacformer.train` also brings the usual samples and judge.

    Ctrl-C, SIGTERM and SIGHUP end the training after the step at hand, which is saved and then measured; another signal
    leaves out the measuring. After Ctrl-C the caller goes on; other signals are then handed on to their own handler.

    Args:
        config: All settings. The run's folder receives `config.yaml`, `metrics.jsonl`, TensorBoard events, checkpoints.
        resume: Go on from the run's last whole checkpoint.
        overwrite: Start anew where the run's folder already holds a training.
        on_metrics: Hears of every step and validation (a live plot).
        on_sample: Writes samples. If it fails, a warning tells, and the training goes on.
        selection_metric: Chooses the best checkpoint, as `RolloutMetric` of `dacformer.evaluation.rollout` does. If it
            is None or fails, the lowest validation NLL is the best.

    Returns:
        The run's folder.

    Raises:
        UserError: Data that cannot be trained on, a run in the way or in use, nothing to resume, or a full disk.
    """
    keep_freed_memory()
    stop = StopRequest()
    with _memory_told_plainly(), contextlib.ExitStack() as cleanup:
        # All is read before the run's folder is touched: data that cannot be trained on buries no older training.
        data = _Data.load(config)
        accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(split_batches=True))
        if config.data.batch_size % accelerator.num_processes:
            raise UserError(
                f"data.batch_size={config.data.batch_size} cannot be shared by {accelerator.num_processes} processes."
            )
        cleanup.enter_context(stop.listening())
        if accelerator.is_main_process:
            cleanup.enter_context(training_folder(config.run))
            prepare_run(config.run, resume, overwrite)
        accelerator.wait_for_everyone()
        trainer = _Trainer(config, data, accelerator, resume)
        if accelerator.is_main_process:
            save_config(config, config.run / "config.yaml")
        log = MetricsLog(config, trainer.step, accelerator.is_main_process, on_metrics, stop)
        cleanup.callback(log.close)
        trainer.run(log, stop, on_sample, selection_metric)
    return config.run


@dataclass(frozen=True)
class _Data:
    """A data set, cut for a training: excerpts, validation segments, and how well one could do by counting `(K,)`."""

    dataset: Dataset
    crops: TrainingCrops
    segments: ValidationSegments
    unigram: np.ndarray

    @classmethod
    def load(cls, config: Config) -> "_Data":
        dataset = load_dataset(config.data.path)
        check_classes(dataset, dataset.rows)
        training, frames, batch = config.training, config.data.segment_frames, config.data.batch_size
        crops = TrainingCrops(dataset, frames, training, training.steps * batch)
        segments = ValidationSegments(dataset, frames, training.validation_batches * batch)
        unigram = unigram_nll(crops.sample_of_codes, segments.codes, dataset.info.codebook_size)
        return cls(dataset, crops, segments, unigram)


class _Trainer:
    """Model, optimizers and average, at a step. All processes call its methods, in the same order."""

    log: MetricsLog
    stop: StopRequest
    on_sample: OnSample | None
    selection_metric: SelectionMetric | None

    def __init__(self, config: Config, data: _Data, accelerator: Accelerator, resume: bool) -> None:
        """Starts from fresh weights, or from those of the run's last checkpoint."""
        self.config, self.data, self.accelerator = config, data, accelerator
        torch.manual_seed(config.training.seed)
        info, conditions = data.dataset.info, data.dataset.conditions
        self.metadata = CheckpointMetadata(step=0, config=config, info=info, conditions=conditions)
        plain = self.metadata.build_model()
        path = find_checkpoint(config.run, "last") if resume else None
        saved = load_state(path) if path else None
        if saved is not None:
            check_resumable(saved[0], self.metadata)
            with _fitting(path):
                plain.load_state_dict(saved[1])  # what the average starts from; the weights as trained follow below
        self.model, *self.optimizers = accelerator.prepare(plain, *make_optimizers(plain, config.training))
        self.bare = [each.optimizer for each in self.optimizers]
        self.average = WeightAverage(self.model, config.training.ema_decay)
        self.step = self.saved_step = 0
        if saved is not None:
            self.metadata = saved[0].model_copy(update={"config": config, "info": info, "conditions": conditions})
            self.step = self.saved_step = saved[0].step
            options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=False)
            with _fitting(path):
                set_model_state_dict(self.model, saved[2]["model"], options=options)
                set_optimizer_state_dict(self.model, self.bare, saved[2]["optimizer"], options=options)
        self.precision = choose_precision(config.training.precision, accelerator.device)

    def run(
        self, log: MetricsLog, stop: StopRequest, on_sample: OnSample | None, selection_metric: SelectionMetric | None
    ) -> None:
        """Trains to the last step or until it is stopped; either way, what was learned is saved, then measured."""
        self.log, self.stop, self.on_sample, self.selection_metric = log, stop, on_sample, selection_metric
        try:
            self._train()
        except KeyboardInterrupt:  # of a callback; signals are taken note of
            stop.signal = stop.signal or signal.SIGINT
        except OSError:  # the log could not be written, the checkpoint perhaps can
            if self.step > self.saved_step:
                self._save()
            raise
        if self.step > self.saved_step:
            self._save()
            log.say(f"Saved step {self.step}; now it is measured. A second Ctrl-C leaves that out.")
            self._measure()
        if self.step < self.config.training.steps:
            log.say(f"Stopped at step {self.step}; go on with --resume." if self.step else "Stopped before any step.")

    def _train(self) -> None:
        training, batch_size = self.config.training, self.config.data.batch_size
        if self.step:
            self._catch_up()
        loader = self.accelerator.prepare(
            DataLoader(
                self.data.crops,
                batch_size=batch_size,
                sampler=range(self.step * batch_size, training.steps * batch_size),
                num_workers=self.config.data.num_workers,
                worker_init_fn=ignore_in_worker,
            )
        )
        for batch in loader:
            if self._should_stop():
                return
            self._update(batch)
            if self.step % training.validate_every == 0 or self.step == training.steps:
                self._save()
                self._measure()
            if self.on_sample and training.sample_every and self.step % training.sample_every == 0:
                if snapshot := self._snapshot():
                    self._call(self.on_sample, snapshot, self.config.run)
                self.accelerator.wait_for_everyone()
                self.log.start_clock()

    def _update(self, batch: dict[str, Tensor]) -> None:
        """Learns from one batch."""
        training, accelerator = self.config.training, self.accelerator
        rate = set_learning_rate(self.optimizers, training, self.step + 1)
        torch.manual_seed(training.seed + self.step + 1)  # dropout: the same after --resume
        self.model.train()
        with self.precision():
            logits = self.model(batch["codes"], batch["condition"], input_codes=batch["input_codes"])
        loss = _global_mean(nll_per_code(logits, batch["codes"]), batch["mask"], accelerator)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        accelerator.backward(loss)
        norm = _whole(accelerator.clip_grad_norm_(self.model.parameters(), training.gradient_clip))
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self.average.update(self.step)
        self.log.later(self.step, rate, accelerator.reduce(loss.detach(), "mean"), norm)

    def _should_stop(self) -> bool:
        """Whether a signal came to any process; several ask each other only when they wait for the device anyway."""
        if self.accelerator.num_processes == 1:
            return self.stop.signal is not None
        if self.step % FLUSH_EVERY:
            return False
        mine = torch.tensor(float(self.stop.signal is not None), device=self.accelerator.device)
        return bool(self.accelerator.reduce(mine, "sum"))

    def _save(self) -> None:
        """Writes a checkpoint of the step at hand, not measured yet."""
        unwritten = None
        try:
            self.log.flush()  # a checkpoint never knows of a step that the log does not
        except OSError as error:
            unwritten = error
        weights = _on_cpu(self.accelerator.get_state_dict(self.model))
        averaged = self._averaged()
        if not all(bool(value.isfinite().all()) for value in weights.values()):
            raise came_apart("The weights are no numbers any more", self.step, self.config.training)
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state = {"model": weights, "optimizer": get_optimizer_state_dict(self.model, self.bare, options=options)}
        self.metadata = self.metadata.model_copy(update={"step": self.step, "metrics": {}})
        if self.accelerator.is_main_process:
            save_checkpoint(self.config.run, self.metadata, averaged, state)
        self.saved_step = self.step
        if unwritten:
            raise unwritten

    def _measure(self) -> None:
        """Validates and judges the checkpoint just saved, writes the figures into it and the log, and prunes others.

        Where a signal breaks that off, it stays without figures, and is measured first of all after --resume.
        """
        device = self.accelerator.device
        with self.average.in_place():
            nll = validate(self.model, self.data.segments, self.config.data.batch_size, self.precision, device)
        if not nll.isfinite().all():
            if self.accelerator.is_main_process:
                remove_checkpoint(find_checkpoint(self.config.run, self.step))  # nothing could go on from it
            raise came_apart(f"The validation NLL is {float(nll.mean())}", self.step, self.config.training)
        unigram = self.data.unigram
        metrics = {"val_nll": float(nll.mean()), "unigram_nll": float(unigram.mean())}
        metrics |= {f"val_nll_{k + 1}": float(value) for k, value in enumerate(nll)}
        metrics |= {f"unigram_nll_{k + 1}": float(value) for k, value in enumerate(unigram)}
        text = f"step {self.step}: validation NLL {metrics['val_nll']:.3f} (unigram {metrics['unigram_nll']:.3f})"
        judged = None
        if self.selection_metric:
            if snapshot := self._snapshot():
                judged = self._call(self.selection_metric, snapshot)
            self.accelerator.wait_for_everyone()
        if judged is not None:
            metrics["rollout_error"] = judged
            text += f", free running {judged:.3f}"
        broken_off = self.selection_metric and judged is None and self.stop.signal
        if self.accelerator.is_main_process and not broken_off:
            self._write(metrics, text)
        self.log.start_clock()

    def _write(self, metrics: dict[str, float], text: str) -> None:
        """Writes what was measured: first into the checkpoint, so that the log never knows more."""
        run = self.config.run
        save_metrics(find_checkpoint(run, self.step), metrics)
        self.log.write(self.step, metrics)
        self.log.say(text)
        try:
            prune_checkpoints(run, self.config.training.keep_checkpoints)
        except OSError as error:
            warnings.warn(f"A checkpoint that is not needed could not be removed: {error}", stacklevel=2)

    def _catch_up(self) -> None:
        """Measures the checkpoint that is resumed, or logs its figures, where the training was killed before that."""
        if not self.metadata.metrics:
            self._measure()
        elif not any(line["step"] == self.step and "val_nll" in line for line in read_metrics(self.config.run)):
            self.log.write(self.step, self.metadata.metrics)

    def _averaged(self) -> dict[str, Tensor]:
        """The averaged weights, whole: a sharded model could not be played or saved alone."""
        with self.average.in_place():
            return _on_cpu(self.accelerator.get_state_dict(self.model))

    def _snapshot(self) -> Checkpoint | None:
        """The model as it is, to be played by the main process; None for the others."""
        weights = self._averaged()
        if not self.accelerator.is_main_process:
            return None
        model = self.metadata.build_model()
        model.load_state_dict(weights)
        metadata = self.metadata.model_copy(update={"step": self.step})
        return Checkpoint(metadata, model.to(self.accelerator.device).eval(), f"{self.config.run.name}/{self.step}")

    def _call(self, callback: Callable[..., Any], *arguments: Any) -> Any:
        """Calls what the caller gave; None where a signal breaks it off, or where it fails, which costs no training."""
        with self.stop.interruptible():
            try:
                return callback(*arguments)
            except Exception as error:
                name, problem = getattr(callback, "__name__", type(callback).__name__), " ".join(str(error).split())
                warnings.warn(f"{name} failed at step {self.step} ({type(error).__name__}: {problem}).", stacklevel=2)
        return None


@contextlib.contextmanager
def _fitting(checkpoint: Path | None) -> Iterator[None]:
    """Says in one line that a state is not one of this model and these optimizers."""
    try:
        yield
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise UserError(
            f"{checkpoint} cannot be gone on with: its state is damaged, or of another version of dacformer. "
            f"It plays, but start anew to train: run=runs/NAME"
        ) from error


@contextlib.contextmanager
def _memory_told_plainly() -> Iterator[None]:
    """Says in one line that the memory is too small."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise UserError(
            "There is not enough memory. Lower data.batch_size, data.segment_frames or model.dim, "
            "then start anew, or go on with --resume."
        ) from error


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


def _whole(norm: Any) -> Tensor:
    """A gradient norm as a plain tensor; FSDP's is sharded."""
    return (norm.full_tensor() if isinstance(norm, DTensor) else norm).detach()


def _on_cpu(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().clone() for key, value in weights.items()}
