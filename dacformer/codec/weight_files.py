"""Files with a codec's weights and sizes: our `.safetensors`, and the `.pth` of `descript-audio-codec`."""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dacformer.config import PositiveInt, Settings, Share, parse_config
from dacformer.errors import UserError, first_line
from dacformer.files import write_safetensors

if TYPE_CHECKING:
    from dac.model.dac import DAC


EMBEDDED = {"small": Path(__file__).parent / "weights" / "small.safetensors"}
"""Weight files of the codecs in the package, by name."""

PRETRAINED = ("44khz", "24khz", "16khz")
"""Codecs whose weights `descript-audio-codec` downloads on first use."""


class CodecConfig(Settings):
    """The sizes of a `dac.DAC`."""

    encoder_dim: PositiveInt = 16
    """Channels of the encoder's first layer; each stride doubles them."""
    encoder_rates: tuple[PositiveInt, ...] = (4, 4, 4, 8)
    """Strides of the encoder; their product is the number of samples per frame."""
    latent_dim: PositiveInt | None = None
    """Channels of the latents, `D`; by default `encoder_dim` times two to the number of strides."""
    decoder_dim: PositiveInt = 256
    """Channels of the decoder's first layer; each stride halves them."""
    decoder_rates: tuple[PositiveInt, ...] = (8, 4, 4, 4)
    """Strides of the decoder, with the same product as the encoder's."""
    n_codebooks: PositiveInt = 4
    """Number of residual codebooks, `K`."""
    codebook_size: PositiveInt = 1024
    """Entries of each codebook, `V`."""
    codebook_dim: PositiveInt = 8
    """Dimensions of a codebook entry."""
    quantizer_dropout: Share = 0.25
    """Share of training items that use a random number of codebooks."""
    sample_rate: PositiveInt = 44100
    """Samples per second of the audio, in Hz."""


def build_model(config: CodecConfig) -> "DAC":
    """Makes a `dac.DAC` with fresh weights (Kumar et al., arXiv:2306.06546)."""
    from dac.model.dac import DAC

    sizes = config.model_dump()
    rates = {key: list(sizes.pop(key)) for key in ("encoder_rates", "decoder_rates")}
    with warnings.catch_warnings():  # torch has a newer weight norm, dac does not use it yet
        warnings.filterwarnings("ignore", message=".*weight_norm.*", category=FutureWarning)
        return DAC(**rates, **sizes)


def save_weights(path: str | Path, config: CodecConfig, weights: dict[str, Tensor]) -> None:
    """Writes a codec as `.safetensors`: the weights, and the sizes as metadata.

    Raises:
        UserError: The weights do not fit the sizes; nothing is written.
    """
    try:
        build_model(config).load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"These weights are of a codec of other sizes than the settings state: {first_line(error)}."
        ) from error
    write_safetensors(path, weights, {"codec": config.model_dump_json()})


def read_safetensors(path: Path) -> tuple[CodecConfig, dict[str, Tensor]]:
    """Reads what `save_weights` writes; raises `UserError` for anything else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            sizes = json.loads((file.metadata() or {})["codec"])
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no dict)
    except (SafetensorError, KeyError, ValueError, RecursionError, OSError) as error:
        reason = "it states no sizes" if isinstance(error, KeyError) else first_line(error)
        raise UserError(f"{path} is not a codec of dacformer, or is damaged: {reason}.") from error
    return parse_config(sizes, str(path), CodecConfig), weights


def read_pth(path: Path) -> tuple[CodecConfig, dict[str, Tensor]]:
    """Reads a weight file as `dac` publishes it: `{"state_dict": ..., "metadata": {"kwargs": sizes}}`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns at length about a file that is no checkpoint
            contents: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        sizes = dict(contents["metadata"]["kwargs"])
        weights = dict(contents["state_dict"])
    except Exception as error:  # for a broken or hostile pickle, torch's reader raises anything
        raise UserError(
            f"{path} is not a weight file of descript-audio-codec, or is damaged. Give one of "
            f"{', '.join([*EMBEDDED, *PRETRAINED])}, or a file of weights: .safetensors or .pth."
        ) from error
    return parse_config(sizes, str(path), CodecConfig), weights
