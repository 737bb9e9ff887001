"""What many tests need, made once: the package's codec, a tiny data set, a tiny training and its instrument."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dacformer.codec import Codec, load_codec
from dacformer.config import Config, parse_config
from dacformer.data.make_textures import make_texture_dataset
from dacformer.generation.synthesizer import Synthesizer, load
from dacformer.training.trainer import train

Configure = Callable[..., Config]


@pytest.fixture(scope="session")
def codec() -> Codec:
    return load_codec("small")


@pytest.fixture(scope="session")
def dataset_path(codec: Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes with one parameter each, eight files of two seconds; not to be written to."""
    path = tmp_path_factory.mktemp("data") / "tiny"
    make_texture_dataset(path, codec, "small", ["pistons", "wind"], values=2, takes=2, seconds=2.0, validation=0.25)
    return path


@pytest.fixture(scope="session")
def configure(dataset_path: Path) -> Configure:
    """Makes settings of a tiny training: `configure(run, **training)`, or `configure(run, model={...})`."""

    def make(
        run: Path, model: dict[str, Any] | None = None, data: dict[str, Any] | None = None, **training: Any
    ) -> Config:
        sizes = {"dim": 32, "num_layers": 2, "num_heads": 2, "window_frames": 16, "mlp_ratio": 2, "film_dim": 16}
        loop = {"steps": 12, "learning_rate": 1e-2, "warmup_steps": 3, "validate_every": 6, "validation_batches": 2}
        loop |= {"sample_every": 0, "precision": "float32", "ema_decay": 0.9, "input_noise": 0.1}
        tree = {
            "run": run,
            "data": {"path": dataset_path, "segment_frames": 48, "batch_size": 4} | (data or {}),
            "model": sizes | (model or {}),
            "training": loop | training,
        }
        return parse_config(tree, "test")

    return make


@pytest.fixture(scope="session")
def trained(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a training that has learned something; not to be written to."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    return train(configure(run, steps=80, validate_every=20, keep_checkpoints=2))


@pytest.fixture(scope="session")
def synth(trained: Path) -> Synthesizer:
    return load(trained)
