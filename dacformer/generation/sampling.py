"""Sampling: draws codes from logits. Settings may change over time. Never makes the CPU wait for the device."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dacformer.arguments import finite_number
from dacformer.conditions.layout import ConditionLayout
from dacformer.config import SamplingConfig, parse_config
from dacformer.errors import UserError, shown
from dacformer.generation.curves import Curve, delayed, signal_from_json
from dacformer.model.heads import Sampler

LEAST_TEMPERATURE = 1e-6
"""Lower temperatures count as 0 (the likeliest code), because logits divided by them may overflow in float32."""


def frame_seed(seed: int, position: int) -> int:
    """Computes the random seed of one frame. It depends on the take's seed and the frame's position only.

    So a take that was cut or read from a file continues with the same random numbers as the whole take.

    Args:
        seed: Seed of the take.
        position: Index of the frame in the take, from 0.

    Returns:
        An integer in `[0, 2^64)`, the SplitMix64 hash (Steele et al., doi:10.1145/2660193.2660195) of both.
    """
    x = (seed * 0x9E3779B97F4A7C15 + position * 0xD1342543DE82EF95 + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return x ^ x >> 31


def sample_code(logits: Tensor, temperature: float, top_k: int, top_p: float, generator: torch.Generator) -> Tensor:
    """Draws one code for each row.

    Args:
        logits: `(B, V)`.
        temperature: Divides the logits; 0 or more. 0 takes the likeliest code.
        top_k: Number of likeliest codes to draw from; 0 for no limit.
        top_p: Draw from the likeliest codes that together reach this probability (Holtzman et al., arXiv:1904.09751).
        generator: Random generator on the device of `logits`.

    Returns:
        `(B,)` int64.
    """
    if temperature < LEAST_TEMPERATURE:
        return logits.argmax(dim=-1)
    return _allowed(logits, temperature, top_k, top_p).add(gumbel_noise(logits.shape, generator)).argmax(dim=-1)


def gumbel_noise(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Returns standard Gumbel noise of the given shape, float32, on the generator's device.

    The argmax of logits plus this noise is a sample from their softmax (the Gumbel-max trick). Unlike
    `torch.multinomial`, this does not make the CPU wait for the device.
    """
    uniform = torch.rand(shape, generator=generator, device=generator.device).clamp_min_(1e-20)
    return uniform.log_().neg_().log_().neg_()


def _allowed(logits: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """Divides logits `(B, V)` by the temperature, and sets codes that top-k or top-p exclude to -inf."""
    logits = logits.float() if temperature == 1.0 else logits.float() / temperature
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p < 1.0:
        ordered, order = logits.sort(dim=-1, descending=True)
        before = ordered.softmax(dim=-1).cumsum(dim=-1) - ordered.softmax(dim=-1)
        dropped = before >= top_p  # probability of the likelier codes is at least top_p
        dropped[:, 0] = False
        logits = logits.masked_fill(torch.zeros_like(dropped).scatter(1, order, dropped), -torch.inf)
    return logits


def make_sampler(sampling: SamplingConfig, num_codebooks: int, generator: torch.Generator) -> Sampler:
    """Makes the sampler of one frame. A head calls it once for each codebook, in order.

    The noise of all codebooks is drawn at the first call. The numbers are the same as with one draw per codebook, in
    a quarter of the time.

    Args:
        sampling: Temperature, top-k and top-p: one value for all codebooks, or one for each.
        num_codebooks: `K`.
        generator: Random generator, seeded for this frame.

    Returns:
        A function `(logits (B, V), codebook k) -> codes (B,)`.

    Raises:
        UserError: A list does not have `K` values.
    """
    temperatures = _per_codebook(sampling.temperature, num_codebooks, "temperature")
    top_ks = _per_codebook(sampling.top_k, num_codebooks, "top_k")
    top_ps = _per_codebook(sampling.top_p, num_codebooks, "top_p")
    drawn = sum(temperature >= LEAST_TEMPERATURE for temperature in temperatures)
    noise: list[Tensor] = []

    def choose(logits: Tensor, k: int) -> Tensor:
        if temperatures[k] < LEAST_TEMPERATURE:
            return logits.argmax(dim=-1)
        if not noise:
            noise.extend(gumbel_noise((drawn, *logits.shape), generator))
        top_k = math.ceil(top_ks[k]) if top_ks[k] < 1 else int(top_ks[k])  # a curve to 0 passes no limit before it
        return _allowed(logits, temperatures[k], top_k, top_ps[k]).add(noise.pop(0)).argmax(dim=-1)

    return choose


def guided(choose: Sampler, weights: Sequence[float]) -> Sampler:
    """Adds classifier-free guidance to a sampler (Ho & Salimans, arXiv:2207.12598, equation 6, on logits).

    Several weights guide channel by channel (Brooks et al., arXiv:2211.09800, equation 3). The logits are
    `l_0 + sum_i w_i (l_i - l_{i-1})`: `l_0` is computed from the null condition, each `l_i` from a condition with one
    more known channel, and `l_n` from the whole condition.

    Args:
        choose: The sampler.
        weights: `w_1` to `w_n`.

    Returns:
        A sampler for batches of `(n + 1) * B` rows: the `B` rows of `l_n` come first, those of `l_0` last. All `n + 1`
        copies of a stream get the same code.
    """

    def sample_guided(logits: Tensor, k: int) -> Tensor:
        *known, mixed = logits.float().chunk(len(weights) + 1)
        before = mixed
        for weight, each in zip(weights, reversed(known), strict=True):
            mixed, before = mixed + weight * (each - before), each
        return choose(mixed, k).repeat(len(weights) + 1)

    return sample_guided


Guidance = float | Mapping[str, float]
"""One weight for the whole condition, or weights for some channels by name."""


def overall_guidance(guidance: Guidance) -> float:
    """Returns one weight for a slider that stands for all channels: the largest."""
    return max(guidance.values()) if isinstance(guidance, Mapping) else guidance


def guidance_weights(guidance: Guidance, terms: int) -> tuple[float, ...]:
    """Returns the weights of the `terms` terms of `guided`. Channels without a weight have weight 1."""
    weights = tuple(guidance.values()) if isinstance(guidance, Mapping) else (guidance,)
    return weights + (1.0,) * (terms - len(weights))


def guidance_masks(guidance: Guidance, layout: ConditionLayout) -> list[np.ndarray]:
    """Returns for each term of `guided` which columns of the condition are known.

    Args:
        guidance: As in `SamplingConfig`. Each term adds one channel, in the order in which they are named.
        layout: The channels of the condition.

    Returns:
        One mask `(C,)` bool for each term, in the order of the weights. The last one is all True.

    Raises:
        UserError: A channel is unknown.
    """
    names = list(guidance) if isinstance(guidance, Mapping) else []
    masks = [layout.mask(names[: i + 1]) for i in range(len(names))]
    return masks if masks and masks[-1].all() else [*masks, np.ones(layout.dim, bool)]


@dataclass(frozen=True)
class Sampling:
    """Sampling settings over time.

    Attributes:
        still: All settings. One that changes over time has its first value here.
        moving: Curves of the settings that change over time, by name.
    """

    still: SamplingConfig
    moving: Mapping[str, Curve]

    def __post_init__(self) -> None:
        first = {name: curve.points[0][1] for name, curve in self.moving.items()}
        object.__setattr__(self, "still", self.still.model_copy(update=first))

    @property
    def guided(self) -> bool:
        """Whether guidance is used, so that the model runs each stream several times per frame."""
        return "guidance" in self.moving or any(weight != 1.0 for weight in guidance_weights(self.still.guidance, 1))

    def at(self, seconds: np.ndarray) -> list[SamplingConfig]:
        """Returns the `T` settings at times `(T,)` in seconds."""
        if not self.moving:
            return [self.still] * len(seconds)
        rows = zip(*(curve.at(seconds).tolist() for curve in self.moving.values()), strict=True)
        return [self.still.model_copy(update=dict(zip(self.moving, row, strict=True))) for row in rows]

    def changes(self) -> dict[str, Any]:
        """Returns all settings by name, as `Synthesizer.generate` takes them."""
        return {**self.still.model_dump(), **self.moving}

    def changed(self, changes: Mapping[str, Any]) -> "Sampling":
        """Returns a copy with some settings replaced, see `parse_sampling`."""
        return parse_sampling(self.still, {**self.moving, **changes})

    def to_json(self) -> dict[str, Any]:
        """Returns the form that recipes hold: settings by name, each a value or the points of a curve."""
        return self.still.model_dump(mode="json") | {name: curve.to_json() for name, curve in self.moving.items()}

    @classmethod
    def from_json(cls, tree: Any) -> "Sampling":
        """Reads the form that `to_json` returns; a `Sampling` is returned as it is.

        Raises:
            UserError: The form is wrong, or a value is not allowed.
        """
        return tree if isinstance(tree, Sampling) else parse_sampling(SamplingConfig(), read_changes(tree))


def parse_sampling(usual: SamplingConfig, changes: Mapping[str, Any]) -> Sampling:
    """Checks sampling settings.

    Args:
        usual: Values of the settings that are not named.
        changes: Settings of `SamplingConfig` by name; in place of a number there may be a `Curve`.

    Returns:
        The sampling.

    Raises:
        UserError: A setting is unknown, or a value is not allowed.
    """
    for name, value in changes.items():
        if isinstance(value, bool | np.bool_):
            raise UserError(f"sampling: '{name}' is {shown(value)}. Expected a number or a Curve.")
    changes = {name: _plain(value) for name, value in changes.items()}
    moving = {name: value for name, value in changes.items() if isinstance(value, Curve)}
    tree = usual.model_dump() | {name: value for name, value in changes.items() if name not in moving}
    for name, curve in moving.items():
        for value in {value for _, value in curve.points}:
            parse_config(tree | {name: value}, "sampling", SamplingConfig)
    return Sampling(parse_config(tree, "sampling", SamplingConfig), moving)


def read_changes(tree: Any) -> dict[str, Any]:
    """Reads sampling settings from the form that recipes hold. Curves are converted; values are not checked.

    Raises:
        UserError: It is not a mapping, or a curve is malformed.
    """
    if not isinstance(tree, Mapping):
        raise UserError(f"The sampling is {shown(tree)}. Expected names and values.")
    return {
        name: signal_from_json(value) if isinstance(value, Mapping) and "points" in value else value
        for name, value in tree.items()
    }


def delay_changes(changes: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Shifts the curves among sampling settings later by `seconds`, see `curves.delayed`."""
    return {name: delayed(value, seconds) for name, value in changes.items()}


def _plain(value: Any) -> Any:
    """Converts numbers of any type, also in lists and mappings, to Python's, so that recipes can be written."""
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    number = finite_number(value)
    return value if number is None else number


def _per_codebook(value: float | tuple[float, ...], num_codebooks: int, name: str) -> tuple[float, ...]:
    if not isinstance(value, tuple):
        return (value,) * num_codebooks
    if len(value) != num_codebooks:
        raise UserError(f"{name} has {len(value)} values, expected one, or one for each of {num_codebooks} codebooks")
    return value
