"""A tiny codec, as each kind of weight file, and noise to send through it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from dacformer.codec import Codec, load_codec
from dacformer.codec.weight_files import CodecConfig, build_model, save_weights

if TYPE_CHECKING:
    from dac.model.dac import DAC

TINY = CodecConfig(
    encoder_dim=2,
    encoder_rates=(2, 4, 8, 8),
    decoder_dim=32,
    decoder_rates=(8, 8, 4, 2),
    codebook_size=64,
    codebook_dim=4,
)
"""The strides of the 44.1 kHz DAC, hop 512, K = 4; 8,000 times fewer weights."""

MakeModel = Callable[..., "DAC"]


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """Makes a `dac.DAC` whose output is neither silent nor the same for all codes: `make_model(**changes_to_TINY)`."""

    def make(**changes: object) -> "DAC":
        torch.manual_seed(0)
        model = build_model(TINY.model_copy(update=changes)).eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:  # the signal's part, not the biases
                parameter.data += 0.1 * torch.randn_like(parameter)
        return model

    return make


@pytest.fixture(scope="session")
def tiny_file(make_model: MakeModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("codec") / "tiny.safetensors"
    save_weights(path, TINY, make_model().state_dict())
    return path


@pytest.fixture(scope="session")
def tiny_pth(make_model: MakeModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights, in a file as descript-audio-codec publishes them."""
    path = tmp_path_factory.mktemp("codec") / "tiny.pth"
    make_model().save(path, package=False)
    return path


@pytest.fixture(scope="session")
def tiny(tiny_file: Path) -> Codec:
    return load_codec(tiny_file)


@pytest.fixture(scope="session")
def noise() -> Callable[..., np.ndarray]:
    """Makes noise `(n,)` that swells and fades, RMS around 0.1."""

    def make(num_samples: int, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        swell = 0.1 + 0.05 * np.sin(np.arange(num_samples) / 3000 + seed)
        return np.clip(swell * rng.standard_normal(num_samples), -0.9, 0.9).astype(np.float32)

    return make
