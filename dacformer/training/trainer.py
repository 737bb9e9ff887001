"""Training of the transformer: in a notebook, on a GPU, or under `accelerate launch` on several machines.

Every process draws its part of the same global batch, and every random choice depends on seed and step only. So a
resumed training has the same losses as an uninterrupted one. Without dropout, one process has the same losses as
several.

`B` batch, `K` codebooks, `T` frames.
"""

import contextlib
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from torch import Tensor
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
from dacformer.config import Config, save_config
from dacformer.errors import UserError
from dacformer.files import training_folder
from dacformer.memory import keep_freed_memory
from dacformer.model import DACFormer
from dacformer.model.heads import nll_per_code
from dacformer.optim import WeightAverage, set_learning_rate
from dacformer.signals import StopRequest, ignore_in_worker
from dacformer.training.data import TrainingData
from dacformer.training.losses import choose_precision, global_mean, validate
from dacformer.training.metrics import FLUSH_EVERY, MetricsLog, OnMetrics, read_metrics
from dacformer.training.optimizers import learning_rate, make_optimizers
from dacformer.training.problems import came_apart, explaining_foreign_state, explaining_lack_of_memory
from dacformer.training.start import check_resumable, prepare_run

OnSample = Callable[[Checkpoint, Path], object]
"""Called every `sample_every` steps with the current model and the run's folder."""
SelectionMetric = Callable[[Checkpoint], float]
"""Called at every validation with the current model. The checkpoint with the lowest value is the best."""


@torch.random.fork_rng(devices=[])  # seeds torch for dropout and new weights, and restores the caller's state
def train(
    config: Config,
    resume: bool = False,
    overwrite: bool = False,
    on_metrics: OnMetrics | None = None,
    on_sample: OnSample | None = None,
    selection_metric: SelectionMetric | None = None,
) -> Path:
    """Trains a model; `dacformer.train` adds the usual samples and selection metric.

    Ctrl-C, SIGTERM and SIGHUP end the training after the current step, which is saved and then validated. A second
    signal skips the validation. After Ctrl-C the function returns; other signals are then passed to their own handlers.

    Args:
        config: All settings. `config.yaml`, `metrics.jsonl`, TensorBoard events and checkpoints are written to the
            run's folder.
        resume: Continue from the run's last complete checkpoint.
        overwrite: Start from the beginning if the run's folder already has a training.
        on_metrics: Called with the metrics of every step and validation.
        on_sample: Writes samples. If it fails, there is a warning, and the training continues.
        selection_metric: Chooses the best checkpoint, such as `RolloutMetric` of `dacformer.evaluation.rollout`. If it
            is None or fails, the checkpoint with the lowest validation NLL is the best.

    Returns:
        The run's folder.

    Raises:
        UserError: The data cannot be trained on, the folder has another training or is in use, there is nothing to
            resume, or the disk is full.
    """
    keep_freed_memory()
    stop = StopRequest()
    with explaining_lack_of_memory(), contextlib.ExitStack() as cleanup:
        # The data is read before the run's folder is changed, so bad data does not overwrite an older training.
        data = TrainingData.load(config)
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
        trainer = Trainer(config, data, accelerator, resume)
        if accelerator.is_main_process:
            save_config(config, config.run / "config.yaml")
        log = MetricsLog(config, trainer.step, accelerator.is_main_process, on_metrics, stop)
        cleanup.callback(log.close)
        trainer.run(log, stop, on_sample, selection_metric)
    return config.run


class Trainer:
    """Model, optimizers and averaged weights at one step of a training.

    All processes must call the same methods in the same order.
    """

    log: MetricsLog
    stop: StopRequest
    on_sample: OnSample | None
    selection_metric: SelectionMetric | None

    def __init__(self, config: Config, data: TrainingData, accelerator: Accelerator, resume: bool) -> None:
        """Prepares a training with new weights, or with the state of the run's last checkpoint.

        Args:
            config: All settings.
            data: Data to train and validate on.
            accelerator: Accelerate's handle of devices and processes.
            resume: Continue from the last checkpoint.

        Raises:
            UserError: The checkpoint is damaged, or has another model, codec, classes or parameters.
        """
        self.config, self.data, self.accelerator = config, data, accelerator
        torch.manual_seed(config.training.seed)
        dataset = {"info": data.dataset.info, "conditions": data.dataset.conditions}
        self.metadata = CheckpointMetadata(step=0, config=config, **dataset)
        model = self.metadata.build_model()
        self.step = self.saved_step = 0
        if not resume:
            self._prepare(model)
            return
        path = find_checkpoint(config.run, "last")
        saved, averaged, state = load_state(path)
        check_resumable(saved, self.metadata)
        with explaining_foreign_state(path):
            model.load_state_dict(averaged)  # the average starts from these; the trained weights are loaded below
        self._prepare(model)
        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=False)
        with explaining_foreign_state(path):
            set_model_state_dict(self.model, state["model"], options=options)
            set_optimizer_state_dict(self.model, self.bare, state["optimizer"], options=options)
        self.metadata = saved.model_copy(update={"config": config, **dataset})
        self.step = self.saved_step = saved.step

    def _prepare(self, model: DACFormer) -> None:
        """Moves model and optimizers to the devices, and starts the average from the model's weights."""
        training, accelerator = self.config.training, self.accelerator
        self.model, *self.optimizers = accelerator.prepare(model, *make_optimizers(model, training))
        self.bare = [each.optimizer for each in self.optimizers]
        self.average = WeightAverage(self.model, training.ema_decay)
        self.precision = choose_precision(training.precision, accelerator.device)

    def run(
        self, log: MetricsLog, stop: StopRequest, on_sample: OnSample | None, selection_metric: SelectionMetric | None
    ) -> None:
        """Trains until the last step or a stop signal. In both cases the last step is saved and validated.

        Args:
            log: Receives metrics and messages.
            stop: Ends the training when it has received a signal.
            on_sample: See `train`.
            selection_metric: See `train`.
        """
        self.log, self.stop, self.on_sample, self.selection_metric = log, stop, on_sample, selection_metric
        try:
            self._train()
        except KeyboardInterrupt:  # raised by a callback; signals are recorded in `stop` instead
            stop.signal = stop.signal or signal.SIGINT
        except OSError:  # the log cannot be written, but perhaps the checkpoint can
            if self.step > self.saved_step:
                self.save()
            raise
        if self.step > self.saved_step:
            self.save()
            log.say(f"Saved step {self.step}; now it is measured. A second Ctrl-C leaves that out.")
            self.validate()
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
            self.update(batch)
            if self.step % training.validate_every == 0 or self.step == training.steps:
                self.save()
                self.validate()
            if self.on_sample and training.sample_every and self.step % training.sample_every == 0:
                if snapshot := self._snapshot():
                    self._call(self.on_sample, snapshot, self.config.run)
                self.accelerator.wait_for_everyone()
                self.log.start_clock()

    def update(self, batch: dict[str, Tensor]) -> None:
        """Takes one optimizer step and updates the averaged weights.

        Args:
            batch: This process's part: `codes` and `input_codes` `(B, K, T)`, `condition` `(B, 1 or T, C)`, and
                `mask` `(B, T)`, True for the frames that count.
        """
        training, accelerator = self.config.training, self.accelerator
        rate = learning_rate(training, self.step + 1)
        set_learning_rate(self.optimizers, rate)
        torch.manual_seed(training.seed + self.step + 1)  # so that dropout is the same after --resume
        self.model.train()
        with self.precision():
            logits = self.model(batch["codes"], batch["condition"], input_codes=batch["input_codes"])
        loss = global_mean(nll_per_code(logits, batch["codes"]), batch["mask"], accelerator)
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
        """Whether any process has a stop signal. Several processes exchange this only every `FLUSH_EVERY` steps."""
        if self.accelerator.num_processes == 1:
            return self.stop.signal is not None
        if self.step % FLUSH_EVERY:
            return False
        mine = torch.tensor(float(self.stop.signal is not None), device=self.accelerator.device)
        return bool(self.accelerator.reduce(mine, "sum"))

    def save(self) -> None:
        """Writes a checkpoint of the current step, without metrics."""
        unwritten = None
        try:
            self.log.flush()  # first, so that the log has every step of the checkpoint
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

    def validate(self) -> None:
        """Validates the saved checkpoint, writes the metrics into it and into the log, and prunes checkpoints.

        If a signal interrupts this, the checkpoint stays without metrics, and `--resume` validates it first.
        """
        device = self.accelerator.device
        with self.average.in_place():
            nll = validate(self.model, self.data.segments, self.config.data.batch_size, self.precision, device)
        if not nll.isfinite().all():
            if self.accelerator.is_main_process:
                remove_checkpoint(find_checkpoint(self.config.run, self.step))  # it could not be resumed or played
            raise came_apart(f"The validation NLL is {float(nll.mean())}", self.step, self.config.training)
        unigram = self.data.unigram
        metrics = {"val_nll": float(nll.mean()), "unigram_nll": float(unigram.mean())}
        metrics |= {f"val_nll_{k + 1}": float(value) for k, value in enumerate(nll)}
        metrics |= {f"unigram_nll_{k + 1}": float(value) for k, value in enumerate(unigram)}
        text = f"step {self.step}: validation NLL {metrics['val_nll']:.3f} (unigram {metrics['unigram_nll']:.3f})"
        score = None
        if self.selection_metric:
            if snapshot := self._snapshot():
                score = self._call(self.selection_metric, snapshot)
            self.accelerator.wait_for_everyone()
        if score is not None:
            metrics["rollout_error"] = score
            text += f", free running {score:.3f}"
        broken_off = self.selection_metric and score is None and self.stop.signal
        if self.accelerator.is_main_process and not broken_off:
            self._write(metrics, text)
        self.log.start_clock()

    def _write(self, metrics: dict[str, float], text: str) -> None:
        """Writes metrics into the checkpoint first and then into the log, so that `_catch_up` can complete the log."""
        run = self.config.run
        save_metrics(find_checkpoint(run, self.step), metrics)
        self.log.write(self.step, metrics)
        self.log.say(text)
        try:
            prune_checkpoints(run, self.config.training.keep_checkpoints)
        except OSError as error:
            warnings.warn(f"A checkpoint that is not needed could not be removed: {error}", stacklevel=2)

    def _catch_up(self) -> None:
        """Completes the validation of a resumed checkpoint, or its log line, if the training was killed before."""
        if not self.metadata.metrics:
            self.validate()
        elif not any(line["step"] == self.step and "val_nll" in line for line in read_metrics(self.config.run)):
            self.log.write(self.step, self.metadata.metrics)

    def _averaged(self) -> dict[str, Tensor]:
        """Returns the averaged weights on the CPU, gathered from all processes if they are sharded."""
        with self.average.in_place():
            return _on_cpu(self.accelerator.get_state_dict(self.model))

    def _snapshot(self) -> Checkpoint | None:
        """Returns a model with the averaged weights in the main process, None in the others."""
        weights = self._averaged()
        if not self.accelerator.is_main_process:
            return None
        model = self.metadata.build_model()
        model.load_state_dict(weights)
        metadata = self.metadata.model_copy(update={"step": self.step})
        return Checkpoint(metadata, model.to(self.accelerator.device).eval(), f"{self.config.run.name}/{self.step}")

    def _call(self, callback: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a callback. Returns None if a signal interrupts it, or, with a warning, if it fails."""
        with self.stop.interruptible():
            try:
                return callback(*arguments)
            except Exception as error:
                name, problem = getattr(callback, "__name__", type(callback).__name__), " ".join(str(error).split())
                warnings.warn(f"{name} failed at step {self.step} ({type(error).__name__}: {problem}).", stacklevel=2)
        return None


def _whole(norm: Any) -> Tensor:
    """Returns a gradient norm as a plain tensor, gathered if it is sharded (FSDP)."""
    return (norm.full_tensor() if isinstance(norm, DTensor) else norm).detach()


def _on_cpu(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().clone() for key, value in weights.items()}
