"""Training with audio samples, and with the best checkpoint chosen by rollout error.

`RolloutMetric` needs scikit-learn and `SampleWriter` needs matplotlib. Each is imported only if it is used.
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
    """Trains a model. The notebooks and the command line use this function.

    Args:
        config: All settings. `training.select_best_by` chooses the metric of the best checkpoint, and
            `training.sample_every` how often samples are written.
        resume: Continue from the run's last complete checkpoint.
        overwrite: Start from the beginning if the run's folder already has a training.
        on_metrics: Called with the metrics of every step and validation.
        on_sample: Writes samples; `SampleWriter` if None.
        selection_metric: Chooses the best checkpoint if `select_best_by` is `rollout`; `RolloutMetric` if None.

    Returns:
        The run's folder.

    Raises:
        UserError: As in `dacformer.training.trainer.train`. Also, before the first step, if the codec is needed for
            `rollout` and cannot be loaded.
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
    """Loads the data set's codec. Returns None, with a warning, if it cannot be loaded and is not required."""
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
