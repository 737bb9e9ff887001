"""Training with samples to listen to, and with the best checkpoint chosen by its rollout error.

`RolloutMetric` brings scikit-learn and `SampleWriter` matplotlib: each is imported by the trainings that use it.
"""

import warnings
from pathlib import Path

from accelerate import Accelerator

from dacformer.codec import Codec, load_codec
from dacformer.config import Config
from dacformer.data.dataset import load_dataset
from dacformer.errors import UserError
from dacformer.training import trainer
from dacformer.training.metrics import OnMetrics
from dacformer.training.trainer import OnSample, SelectionMetric


def train(
    config: Config,
    resume: bool = False,
    overwrite: bool = False,
    on_metrics: OnMetrics | None = None,
    on_sample: OnSample | None = None,
    selection_metric: SelectionMetric | None = None,
) -> Path:
    """Trains a model; the notebooks and the command line do it with this function, too.

    Args:
        config: All settings; `training.select_best_by` and `training.sample_every` say what is generated on the way.
        resume: Go on from the run's last whole checkpoint.
        overwrite: Start anew where the run's folder already holds a training.
        on_metrics: Called with the figures of every step and validation, as a live plot is.
        on_sample: Writes samples, in place of `SampleWriter`.
        selection_metric: Chooses the best checkpoint, in place of `RolloutMetric`, if `select_best_by` is `rollout`.

    Returns:
        The run's folder.

    Raises:
        UserError: See `dacformer.training.train`; also, before the first step, a codec that cannot be had, if the best
            is to be chosen by `rollout`.
    """
    by_rollout = config.training.select_best_by == "rollout"
    needs_metric = by_rollout and selection_metric is None
    needs_writer = bool(config.training.sample_every) and on_sample is None
    codec = _codec(config, needed=needs_metric) if needs_metric or needs_writer else None
    if codec is not None and needs_metric:
        from dacformer.evaluation.rollout import RolloutMetric

        selection_metric = RolloutMetric(codec)
    if codec is not None and needs_writer:
        from dacformer.evaluation.samples import SampleWriter

        on_sample = SampleWriter(codec)
    return trainer.train(config, resume, overwrite, on_metrics, on_sample, selection_metric if by_rollout else None)


def _codec(config: Config, needed: bool) -> Codec | None:
    """The data set's codec; None, with a warning, where it cannot be had and is not needed."""
    info = load_dataset(config.data.path).info
    try:
        with Accelerator().main_process_first():  # one downloads
            codec = load_codec(info.codec_name, info.num_codebooks)
        if codec.identity != info.codec:
            raise UserError(f"{config.data.path} is of {info.codec}, but '{info.codec_name}' is {codec.identity} now.")
        return codec
    except UserError as error:
        if needed:
            raise UserError(f"{error} To train without the codec: training.select_best_by=nll") from None
        warnings.warn(f"{error} So the training writes no samples.", stacklevel=3)
    return None
