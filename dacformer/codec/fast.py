"""Optimizes a `dac.DAC` for inference: the same network, faster on a CPU, with fixed weights."""

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from dacformer.codec.snake import Snake

if TYPE_CHECKING:
    from dac.model.dac import DAC


class Conv(nn.Conv1d):
    """`nn.Conv1d` whose output has the channels-last memory layout.

    This layout is faster on a CPU for few channels and many samples. Torch offers it for `conv2d` only.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Applies the convolution to `(B, channels, N)` of either layout."""
        return self.convolve(input, int(self.padding[0]))

    def convolve(self, x: Tensor, padding: int) -> Tensor:
        """Applies the convolution with another padding."""
        stride, dilation = (1, self.stride[0]), (1, self.dilation[0])
        y = F.conv2d(x[:, :, None], self.weight[:, :, None], self.bias, stride, (0, padding), dilation, self.groups)
        return y[:, :, 0]


class ConvTranspose(nn.ConvTranspose1d):
    """`nn.ConvTranspose1d` with the memory layout of `Conv`."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Applies the convolution to `(B, channels, N)` of either layout."""
        assert output_size is None
        return self.convolve(input, self.bias, int(self.padding[0]), int(self.output_padding[0]))

    def convolve(self, x: Tensor, bias: Tensor | None, padding: int, output_padding: int) -> Tensor:
        """Applies the convolution with another bias and other paddings."""
        weight, stride = self.weight[:, :, None], (1, self.stride[0])
        return F.conv_transpose2d(x[:, :, None], weight, bias, stride, (0, padding), (0, output_padding))[:, :, 0]


def optimize_for_inference(model: "DAC") -> "DAC":
    """Rebuilds a model in place: without weight norm, with `Snake`, and the decoder's convolutions as `Conv`.

    The encoder's convolutions stay as they are: they gain nothing, and codes must not change.
    """
    from dac.nn.layers import Snake1d

    for module in list(model.modules()):
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d) and hasattr(module, "weight_g"):
            nn.utils.remove_weight_norm(module)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, Snake1d):
                setattr(module, name, Snake(child.get_parameter("alpha").detach()))
    for module in model.decoder.modules():
        kind = {nn.Conv1d: Conv, nn.ConvTranspose1d: ConvTranspose}.get(type(module))
        if kind is not None:
            module.__class__ = kind  # keeps all attributes, replaces forward
            weight = module.get_parameter("weight")
            weight.data = weight.data.transpose(1, 2).contiguous().transpose(1, 2)
    return model


def decoder_input(model: "DAC", codes: Tensor) -> Tensor:
    """Computes the decoder's input for codes `(B, K, T)`: latents `(B, latent_dim, T)`, in the decoder's dtype."""
    return model.quantizer.from_codes(codes)[0].to(next(model.decoder.parameters()).dtype)
