"""Streaming decoder, exact: codes go in chunk by chunk, and the samples that they complete come out.

A convolution with padding p needs p samples of the future, so a stream lags by p per layer. Each layer
keeps the left context that its next output needs and nothing else. So no sample is computed twice,
memory is constant, and the chunks laid end to end are the whole-file result.

All shapes are `(B, channels, n)`; a chunk may have any length, also 0.
"""

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dacformer.codec.fast import Conv, ConvTranspose, decoder_input

if TYPE_CHECKING:
    from dac.model.dac import DAC


class StreamLayer(Protocol):
    """A layer that is fed chunk by chunk."""

    def push(self, x: Tensor) -> Tensor:
        """Feeds the next chunk and returns the output that it completes."""
        ...

    def flush(self) -> Tensor | None:
        """Ends the stream and returns the remaining output; None if there is none."""
        ...


class _Pointwise:
    """Streams a layer without context: an activation."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def push(self, x: Tensor) -> Tensor:
        return self.module(x) if x.shape[-1] else x

    def flush(self) -> None:
        return None


class _Conv:
    """Streams a strided or dilated convolution; keeps the input that its next output begins with."""

    def __init__(self, module: Conv, batch_size: int) -> None:
        self.module = module
        self.stride, self.padding = module.stride[0], int(module.padding[0])
        self.span = module.dilation[0] * (module.kernel_size[0] - 1) + 1
        self.held = module.weight.new_zeros(batch_size, module.in_channels, self.padding)

    def push(self, x: Tensor) -> Tensor:
        x = _join(self.held, x)
        count = max(0, (x.shape[-1] - self.span) // self.stride + 1)
        self.held = x[..., count * self.stride :].clone()
        if count == 0:
            return x.new_empty(x.shape[0], self.module.out_channels, 0)
        return self.module.convolve(x, padding=0)

    def flush(self) -> Tensor:
        return self.push(self.held.new_zeros(*self.held.shape[:2], self.padding))


class _ConvTranspose:
    """Streams a transposed convolution; keeps the tail that the next input adds to."""

    def __init__(self, module: ConvTranspose, batch_size: int) -> None:
        self.module = module
        self.stride, self.padding = module.stride[0], int(module.padding[0])
        self.tail = module.weight.new_zeros(batch_size, module.out_channels, module.kernel_size[0] - self.stride)
        self.to_skip = self.padding  # the whole-file layer cuts its padding off both ends

    def push(self, x: Tensor) -> Tensor:
        if x.shape[-1] == 0:
            return x.new_empty(x.shape[0], self.module.out_channels, 0)
        y = self.module.convolve(x, bias=None, padding=0, output_padding=0)
        overlap = self.tail.shape[-1]
        y[..., :overlap] += self.tail
        complete = x.shape[-1] * self.stride
        self.tail = y[..., complete:].clone()
        return self._finish(y[..., :complete])

    def flush(self) -> Tensor:
        return self._finish(self.tail[..., : self.tail.shape[-1] - self.padding])

    def _finish(self, y: Tensor) -> Tensor:
        skipped = min(self.to_skip, y.shape[-1])
        self.to_skip -= skipped
        y = y[..., skipped:]
        return y if self.module.bias is None else y + self.module.bias[:, None]


class _Residual:
    """Streams `x + block(x)`; keeps `x` until the block's output for it is complete."""

    def __init__(self, block: "_Chain") -> None:
        self.block = block
        self.waiting: Tensor | None = None

    def push(self, x: Tensor) -> Tensor:
        self.waiting = x if self.waiting is None else _join(self.waiting, x)
        return self._add(self.block.push(x))

    def flush(self) -> Tensor | None:
        rest = self.block.flush()
        return None if rest is None else self._add(rest)

    def _add(self, y: Tensor) -> Tensor:
        assert self.waiting is not None
        x, self.waiting = self.waiting[..., : y.shape[-1]], self.waiting[..., y.shape[-1] :].clone()
        return x + y


class _Chain:
    """Streams several layers, one after the other."""

    def __init__(self, layers: list[StreamLayer]) -> None:
        self.layers = layers

    def push(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer.push(x)
        return x

    def flush(self) -> Tensor | None:
        rest: Tensor | None = None
        for layer in self.layers:
            pieces = [
                piece for piece in (None if rest is None else layer.push(rest), layer.flush()) if piece is not None
            ]
            rest = _join(*pieces) if pieces else None
        return rest


def _join(*pieces: Tensor) -> Tensor:
    """Concatenates along time and keeps the memory layout of `Conv`, which `torch.cat` alone would change."""
    return torch.cat([piece.mT for piece in pieces], dim=1).mT


def _stream(module: nn.Module, batch_size: int) -> StreamLayer:
    """Makes the streaming form of a module of `dac`; it shares the weights."""
    from dac.model.dac import ResidualUnit

    if isinstance(module, Conv):
        return _Conv(module, batch_size)
    if isinstance(module, ConvTranspose):
        return _ConvTranspose(module, batch_size)
    if isinstance(module, ResidualUnit):
        return _Residual(_Chain([_stream(child, batch_size) for child in module.get_submodule("block").children()]))
    children = list(module.children())
    if children:  # nn.Sequential and the blocks that only wrap one
        return _Chain([_stream(child, batch_size) for child in children])
    return _Pointwise(module)


class StreamDecoder:
    """Decodes a stream of codes, in chunks of any size and constant memory.

    The output chunks laid end to end equal the decoding of all codes in one piece.

    Attributes:
        delay_frames: Lag of audio behind codes, in frames: a sample is complete once this many frames
            after its own have been pushed (10 for `44khz`, 11 for `small`).
    """

    def __init__(self, model: "DAC", batch_size: int, hop_length: int) -> None:
        """Starts a stream of codes.

        Args:
            model: A `dac.DAC` in evaluation mode, rebuilt by `optimize_for_inference`.
            batch_size: Streams side by side, `B`.
            hop_length: Samples per frame.
        """
        self._model = model
        self._chain = _stream(model.decoder, batch_size)
        self._hop_length = hop_length
        self._frames = self._samples = 0
        self.delay_frames = lag_frames(model.decoder)

    @torch.inference_mode()
    def push(self, codes: Tensor) -> Tensor:
        """Feeds the next frames.

        Args:
            codes: `(B, K, t)` integers in `[0, V)`, `t >= 0`.

        Returns:
            The samples that these frames complete, `(B, 1, n)` float32.
        """
        if codes.shape[-1] == 0:
            return torch.zeros(len(codes), 1, 0, device=codes.device)
        self._frames += codes.shape[-1]
        return self._count(self._chain.push(decoder_input(self._model, codes)))

    @torch.inference_mode()
    def flush(self) -> Tensor:
        """Ends the stream.

        Returns:
            The remaining samples, `(B, 1, n)` float32; all chunks together are `frames * hop_length`.
        """
        rest = self._chain.flush()
        assert rest is not None
        # Odd strides leave the decoder a few samples short of whole frames, here and in the whole-file result alike.
        missing = self._frames * self._hop_length - self._samples - rest.shape[-1]
        return self._count(F.pad(rest, (0, missing)))

    def _count(self, audio: Tensor) -> Tensor:
        self._samples += audio.shape[-1]
        return audio.float()


def lag_frames(decoder: nn.Module) -> int:
    """Computes the look-ahead of an output sample in frames, summed over the decoder's layers."""
    rate, lag = 1.0, 0.0  # samples per frame at the current depth; lag in frames
    for module in decoder.modules():
        if isinstance(module, nn.ConvTranspose1d):
            rate *= module.stride[0]
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            lag += int(module.padding[0]) / rate
    return int(-(-lag // 1))
