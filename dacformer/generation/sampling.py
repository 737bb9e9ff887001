"""Drawing a code from logits, by settings that may move. Knows nothing of codecs; never waits for the device."""

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
"""Below it, logits over the temperature leave what float32 holds: the likeliest code is taken, as at 0."""


def frame_seed(seed: int, position: int) -> int:
    """The seed of one frame's chance, so that it depends on nothing that was drawn before.

    So a take that is cut anywhere, or read again, goes on as if nothing had happened.

    Args:
        seed: Of the take.
        position: The frame's.

    Returns:
        A number in `[0, 2^64)`: SplitMix64 (Steele et al., doi:10.1145/2660193.2660195) of both.
    """
    x = (seed * 0x9E3779B97F4A7C15 + position * 0xD1342543DE82EF95 + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return x ^ x >> 31


def sample_code(logits: Tensor, temperature: float, top_k: int, top_p: float, generator: torch.Generator) -> Tensor:
    """Draws one code for each row.

    Args:
        logits: `(B, V)`.
        temperature: Divides the logits; 0 takes the likeliest.
        top_k: Draw among the k likeliest; 0 for no limit.
        top_p: Draw among the likeliest that together reach this probability (Holtzman et al., arXiv:1904.09751).
        generator: The source of chance, on the device of `logits`.

    Returns:
        `(B,)` int64.
    """
    if temperature < LEAST_TEMPERATURE:
        return logits.argmax(dim=-1)
    return _allowed(logits, temperature, top_k, top_p).add(gumbel_noise(logits.shape, generator)).argmax(dim=-1)


def gumbel_noise(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise of a shape, float32, on the generator's device.

    The largest of logits plus noise is a draw from their softmax (the Gumbel-max trick): no sum, and no waiting for
    the device.
    """
    uniform = torch.rand(shape, generator=generator, device=generator.device).clamp_min_(1e-20)
    return uniform.log_().neg_().log_().neg_()


def _allowed(logits: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """Logits `(B, V)` over the temperature; -inf where top-k or top-p leave a code out."""
    logits = logits.float() if temperature == 1.0 else logits.float() / temperature
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p < 1.0:
        ordered, order = logits.sort(dim=-1, descending=True)
        before = ordered.softmax(dim=-1).cumsum(dim=-1) - ordered.softmax(dim=-1)
        dropped = before >= top_p  # the likeliest always stays: nothing is before it
        dropped[:, 0] = False
        logits = logits.masked_fill(torch.zeros_like(dropped).scatter(1, order, dropped), -torch.inf)
    return logits


def make_sampler(sampling: SamplingConfig, num_codebooks: int, generator: torch.Generator) -> Sampler:
    """Makes what a head calls for each codebook of one frame, in order: a draw.

    The noise of a whole frame is drawn at once: the same numbers as codebook by codebook, in a quarter of the time.

    Args:
        sampling: Temperature, top-k, top-p, one for all codebooks or one each.
        num_codebooks: `K`.
        generator: The source of chance.

    Returns:
        `(logits (B, V), codebook k) -> codes (B,)`.

    Raises:
        UserError: A list of another length than `K`.
    """
    temperatures = _per_codebook(sampling.temperature, num_codebooks, "temperature")
    top_ks = _per_codebook(sampling.top_k, num_codebooks, "top_k")
    top_ps = _per_codebook(sampling.top_p, num_codebooks, "top_p")
    drawn = sum(temperature > 0.0 for temperature in temperatures)
    noise: list[Tensor] = []

    def choose(logits: Tensor, k: int) -> Tensor:
        if temperatures[k] == 0.0:
            return logits.argmax(dim=-1)
        if not noise:
            noise.extend(gumbel_noise((drawn, *logits.shape), generator))
        return _allowed(logits, temperatures[k], int(top_ks[k]), top_ps[k]).add(noise.pop(0)).argmax(dim=-1)

    return choose


def guided(choose: Sampler, weights: Sequence[float]) -> Sampler:
    """Puts guidance before a draw (Ho & Salimans, arXiv:2207.12598, equation 6, on logits).

    Several weights guide by a chain of ever more known channels (Brooks et al., arXiv:2211.09800, equation 3):
    `l_0 + sum_i w_i (l_i - l_{i-1})`, with `l_0` the logits of the null condition and `l_n` those of the whole one.

    Args:
        choose: The draw.
        weights: `w_1` to `w_n`.

    Returns:
        A draw for a batch that holds every stream `n + 1` times: with `l_n` first and `l_0` last. All copies get the
        same code.
    """

    def sample_guided(logits: Tensor, k: int) -> Tensor:
        *known, mixed = logits.float().chunk(len(weights) + 1)
        before = mixed
        for weight, each in zip(weights, reversed(known), strict=True):
            mixed, before = mixed + weight * (each - before), each
        return choose(mixed, k).repeat(len(weights) + 1)

    return sample_guided


Guidance = float | Mapping[str, float]
"""One weight for the whole condition, or one for each of some channels."""


def overall_guidance(guidance: Guidance) -> float:
    """One weight to begin with where several are set: the largest."""
    return max(guidance.values()) if isinstance(guidance, Mapping) else guidance


def guidance_weights(guidance: Guidance, terms: int) -> tuple[float, ...]:
    """The weights of a chain of terms, see `guided`: channels that have none are obeyed as they are, with weight 1."""
    weights = tuple(guidance.values()) if isinstance(guidance, Mapping) else (guidance,)
    return weights + (1.0,) * (terms - len(weights))


def guidance_masks(guidance: Guidance, layout: ConditionLayout) -> list[np.ndarray]:
    """The columns `(C,)` bool that each term of the chain knows, in the order of the weights.

    Args:
        guidance: As in `SamplingConfig`: channels come in at the order in which they are named.
        layout: The channels there are.

    Returns:
        One mask for each term; the last knows everything.

    Raises:
        UserError: There is no channel of one of the names.
    """
    names = list(guidance) if isinstance(guidance, Mapping) else []
    masks = [layout.mask(names[: i + 1]) for i in range(len(names))]
    return masks if masks and masks[-1].all() else [*masks, np.ones(layout.dim, bool)]


@dataclass(frozen=True)
class Sampling:
    """How codes are drawn over time.

    Attributes:
        still: All settings; one that moves has its first value here.
        moving: A curve for each setting that moves.
    """

    still: SamplingConfig
    moving: Mapping[str, Curve]

    def __post_init__(self) -> None:
        first = {name: curve.points[0][1] for name, curve in self.moving.items()}
        object.__setattr__(self, "still", self.still.model_copy(update=first))

    @property
    def guided(self) -> bool:
        """Whether each stream runs more than once, with and without its condition."""
        return "guidance" in self.moving or any(weight != 1.0 for weight in guidance_weights(self.still.guidance, 1))

    def at(self, seconds: np.ndarray) -> list[SamplingConfig]:
        """The settings at times `(T,)`."""
        if not self.moving:
            return [self.still] * len(seconds)
        rows = zip(*(curve.at(seconds).tolist() for curve in self.moving.values()), strict=True)
        return [self.still.model_copy(update=dict(zip(self.moving, row, strict=True))) for row in rows]

    def changes(self) -> dict[str, Any]:
        """All settings by name, as `Synthesizer.generate` takes them."""
        return {**self.still.model_dump(), **self.moving}

    def changed(self, changes: Mapping[str, Any]) -> "Sampling":
        """Other settings in place of some, see `parse_sampling`."""
        return parse_sampling(self.still, {**self.moving, **changes})

    def to_json(self) -> dict[str, Any]:
        """The plain form that recipes hold."""
        return self.still.model_dump(mode="json") | {name: curve.to_json() for name, curve in self.moving.items()}

    @classmethod
    def from_json(cls, tree: Any) -> "Sampling":
        """Reads the plain form.

        Raises:
            UserError: Not what `to_json` writes.
        """
        return tree if isinstance(tree, Sampling) else parse_sampling(SamplingConfig(), read_changes(tree))


def parse_sampling(usual: SamplingConfig, changes: Mapping[str, Any]) -> Sampling:
    """Checks settings of the sampling.

    Args:
        usual: What is not named stays so.
        changes: Settings of `SamplingConfig`; a number may be a `Curve`.

    Returns:
        The sampling.

    Raises:
        UserError: An unknown setting, or a value that it cannot have.
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
    """Settings with their curves, from the plain form that recipes hold.

    Raises:
        UserError: No names and values.
    """
    if not isinstance(tree, Mapping):
        raise UserError(f"The sampling is {shown(tree)}. Expected names and values.")
    return {
        name: signal_from_json(value) if isinstance(value, Mapping) and "points" in value else value
        for name, value in tree.items()
    }


def delay_changes(changes: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Settings whose curves begin later, see `curves.delayed`."""
    return {name: delayed(value, seconds) for name, value in changes.items()}


def _plain(value: Any) -> Any:
    """Numbers of any kind as Python's, which every recipe holds."""
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
