"""The codec: load it, encode audio into codes, decode codes into audio, in one piece or in chunks."""

import hashlib
import warnings
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dacformer import audio as sound
from dacformer.codec.dac_file import DacFile
from dacformer.codec.fast import decoder_input, optimize_for_inference
from dacformer.codec.streaming import StreamDecoder, lag_frames
from dacformer.codec.weight_files import EMBEDDED, PRETRAINED, build_model, read_pth, read_safetensors
from dacformer.errors import UserError, first_line
from dacformer.memory import keep_freed_memory

if TYPE_CHECKING:
    from dac.model.dac import DAC

PIECE_CHANNELS = 172 * 1536
"""Longest chunk that is decoded at once, in frames times decoder channels.

This is 2 s for the full-size codec, which needs 100 MB for each second, and 12 s for the narrower `small`.
"""


class Codec:
    """Turns audio into codes and codes into audio.

    Attributes:
        model: The `dac.DAC` behind it, in evaluation mode, rebuilt by `optimize_for_inference`.
        identity: Name and start of the weights' SHA-256. Codes of one identity are noise to every other.
        sample_rate: In Hz.
        hop_length: Samples per frame.
        num_codebooks: Codebooks in use, `K`.
        codebook_size: Size of a codebook, `V`.
    """

    def __init__(
        self, model: "DAC", identity: str, num_codebooks: int | None = None, precision: torch.dtype = torch.float32
    ) -> None:
        """Wraps a model and optimizes it for inference, in place. `load_codec` calls this.

        Args:
            model: A `dac.DAC`.
            identity: Name and hash of its weights.
            num_codebooks: Use only the first `num_codebooks`; all of them if None.
            precision: Dtype of the decoder. The encoder stays in float32, so codes do not depend on it.
        """
        keep_freed_memory()
        self.model = optimize_for_inference(model.eval().requires_grad_(False))
        self.model.decoder.to(precision)
        self.identity = identity
        self.sample_rate = int(model.sample_rate)
        self.hop_length = int(model.hop_length)
        self.num_codebooks = min(num_codebooks or model.n_codebooks, model.n_codebooks)
        self.codebook_size = int(model.codebook_size)

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.model.parameters()).device

    def to(self, device: str | torch.device) -> "Codec":
        """Moves the weights to a device and returns this codec.

        Raises:
            UserError: There is no such device here.
        """
        try:
            self.model.to(device)
        except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for a device
            raise UserError(
                f"The codec cannot be moved to device '{device}' ({first_line(error)}). Use 'cpu'."
            ) from error
        return self

    @torch.inference_mode()
    def encode(self, audio: Tensor) -> Tensor:
        """Turns audio into codes.

        Args:
            audio: `(B, 1, N)` float32 at `sample_rate`; padded with zeros to whole frames.

        Returns:
            `(B, K, T)` int64 in `[0, V)`, `T = ceil(N / hop_length)`.
        """
        audio = F.pad(audio.to(self.device), (0, -audio.shape[-1] % self.hop_length))
        return self.model.encode(audio, self.num_codebooks)[1]

    def encode_blocks(self, blocks: Iterable[np.ndarray], chunk_frames: int = 860) -> Iterator[np.ndarray]:
        """Encodes a sound of any length in bounded memory; the codes equal those of `encode` on the whole.

        Args:
            blocks: Consecutive pieces `(n,)` float32 of the sound, at `sample_rate`.
            chunk_frames: Frames encoded together.

        Yields:
            Consecutive codes `(K, t)` int64.
        """
        context = _encoder_context_frames(self.model.encoder)
        hop = self.hop_length
        held = np.zeros(0, np.float32)
        left = 0  # frames at the start of `held` that are only context
        for block in blocks:
            held = np.concatenate([held, block])
            # Encode as soon as a chunk and its right context are there.
            while len(held) >= (left + chunk_frames + context) * hop:
                codes = self._encode_mono(held[: (left + chunk_frames + context) * hop])
                yield codes[:, left : left + chunk_frames]
                keep = max(0, left + chunk_frames - context)
                held, left = held[keep * hop :], left + chunk_frames - keep
        if len(held) > left * hop:
            yield self._encode_mono(held)[:, left:]

    def _encode_mono(self, audio: np.ndarray) -> np.ndarray:
        return self.encode(torch.from_numpy(audio)[None, None])[0].cpu().numpy()

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """Turns codes into audio.

        Args:
            codes: `(B, K, T)` integers in `[0, V)`; `K` may be smaller than the codec's.

        Returns:
            `(B, 1, T * hop_length)` float32.
        """
        codes = codes.to(self.device)
        piece_frames = PIECE_CHANNELS // self.model.decoder_dim
        if codes.shape[-1] <= piece_frames:
            audio = self._decode(codes)
            return F.pad(audio, (0, codes.shape[-1] * self.hop_length - audio.shape[-1]))
        stream = self.stream_decoder(len(codes))
        return torch.cat([*(stream.push(piece) for piece in codes.split(piece_frames, dim=-1)), stream.flush()], dim=-1)

    @torch.inference_mode()
    def latents(self, codes: Tensor) -> Tensor:
        """Computes the latents of codes: the sum of their codebook vectors, the decoder's input.

        Args:
            codes: As in `decode`.

        Returns:
            `(B, latent_dim, T)`, in the decoder's dtype.
        """
        return decoder_input(self.model, codes.to(self.device))

    @cached_property
    def delay_frames(self) -> int:
        """How far a stream's audio lags behind its codes, see `StreamDecoder`."""
        return lag_frames(self.model.decoder)

    def stream_decoder(self, batch_size: int = 1) -> StreamDecoder:
        """Starts decoding a stream: `push` codes to get the audio that they complete; `flush` at the end."""
        return StreamDecoder(self.model, batch_size, self.hop_length)

    @torch.inference_mode()
    def decode_file(self, file: DacFile) -> np.ndarray:
        """Decodes a `.dac` file to the sound it was made from: its level, its rate, its length.

        A file that does not state its codec (one of `python -m dac`) is taken for this codec's, with a warning.

        Args:
            file: Read with `read_dac`, ours or of `python -m dac encode`.

        Returns:
            `(N, channels)` float32 at `file.sample_rate`.

        Raises:
            UserError: The file is of another codec, or has codes that this one does not.
        """
        if file.codec and file.codec != self.identity:
            raise UserError(f"The file holds codes of {file.codec}, which are noise to {self.identity}. Give that one.")
        if file.num_codebooks > self.model.n_codebooks or file.codes.max() >= self.codebook_size:
            raise UserError(
                f"The file has {file.num_codebooks} codebooks and codes up to {file.codes.max()}, but {self.identity} "
                f"has K={self.model.n_codebooks}, V={self.codebook_size}. Give the codec that the file was made with."
            )
        if not file.codec:
            warnings.warn(f"{describe_origin(file)} It is decoded with {self.identity}.", stacklevel=2)
        codes = torch.from_numpy(file.codes)
        if file.padding:
            audio = self.decode(codes).cpu()
        else:  # chunks of `python -m dac`: they overlap, and are decoded without padding
            self.model.padding = False
            try:
                chunks = codes.split(file.chunk_length, dim=-1)
                audio = torch.cat([self._decode(chunk).cpu() for chunk in chunks], dim=-1)
            except RuntimeError as error:  # raised by a convolution that is wider than its input
                raise UserError(
                    f"The file's chunks are of {file.chunk_length} frames, the last of {chunks[-1].shape[-1]}: too "
                    f"short for {self.identity}. It is damaged, or of another codec."
                ) from error
            finally:
                self.model.padding = True
        restored = audio[:, 0].T.numpy()  # (N, channels)
        level = sound.loudness_db(restored, self.sample_rate)
        restored = restored * 10 ** ((file.input_db - level) / 20)
        restored = sound.resample(restored, self.sample_rate, file.sample_rate)
        return restored[: file.original_length].astype(np.float32)

    def _decode(self, codes: Tensor) -> Tensor:
        return self.model.decode(self.latents(codes)).float()


def describe_origin(file: DacFile) -> str:
    """Says what is known of the codes' origin, for a file that does not name its codec."""
    form = f"one sequence of {file.num_frames} frames" if file.padding else f"chunks of {file.chunk_length} frames"
    return (
        f"The file does not say which codec made it (K={file.num_codebooks}, codes up to {file.codes.max()}, {form}, "
        f"of a sound at {file.sample_rate} Hz): with another codec than its own it is noise."
    )


def load_codec(
    name: str | Path = "small", num_codebooks: int | None = 4, precision: torch.dtype = torch.float32
) -> Codec:
    """Loads a codec.

    Args:
        name: `small` (in the package), `44khz`, `24khz` or `16khz` (downloaded once by `descript-audio-codec`), or
            the path of a weight file: `.safetensors` of `dacformer.codec.train`, or `.pth` of `dac`.
        num_codebooks: Use only the first `num_codebooks`; all of them if None.
        precision: Dtype of the decoder. `torch.bfloat16` is 1.5 to 2 times faster on a CPU that has
            instructions for it, at an error of about 1 %. `torch.float32` is exact to 1e-5 and fast enough
            to play live with `small`.

    Returns:
        The codec, on the CPU.

    Raises:
        UserError: Unknown name, no such file, a download that failed, a corrupt file, or sizes that do not fit.
    """
    name = str(name)
    if name in EMBEDDED:
        path = EMBEDDED[name]
    elif name in PRETRAINED:
        path = _download(name)
    else:
        path, name = Path(name), Path(name).stem
        if not path.is_file():
            known = ", ".join([*EMBEDDED, *PRETRAINED])
            raise UserError(f"There is no codec '{path}'. Give one of {known}, or the path of a weight file.")
    read = read_safetensors if path.suffix == ".safetensors" else read_pth
    config, weights = read(path)
    try:
        if config.n_codebooks > len(weights):
            raise ValueError(f"{config.n_codebooks} codebooks in {len(weights)} tensors")
        with torch.device("meta"):  # allocates nothing for sizes that may be false
            states = build_model(config).state_dict()
        if {key: value.shape for key, value in states.items()} != {key: value.shape for key, value in weights.items()}:
            raise ValueError("other tensors, or of other shapes")
        model = build_model(config)
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"The weights in {path} do not fit the sizes it states: {first_line(error)}.") from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Codec(model, f"{name}-{digest[:16]}", num_codebooks, precision)


def _download(name: str) -> Path:
    from dac.utils import download

    try:
        return Path(download(model_type=name))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        raise UserError(
            f"The weights of '{name}' could not be downloaded ({error}). Check the network, or download the file "
            "by hand from the releases of descript-audio-codec and give its path; 'small' needs no download."
        ) from error


def _encoder_context_frames(encoder: nn.Module) -> int:
    """Bounds the encoder's receptive field in frames to either side (by both sides together)."""
    step, reach = 1, 0  # in samples of the input
    for module in encoder.modules():
        if isinstance(module, nn.Conv1d):
            reach += (module.dilation[0] * (module.kernel_size[0] - 1)) * step
            step *= module.stride[0]
    return -(-reach // step)
