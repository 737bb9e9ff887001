"""Every setting of dacformer: one typed tree, YAML in and out.

The text below a field is its documentation, in the YAML and in the notebooks alike. A key that does not
exist, or a value of the wrong kind, is refused with the nearest valid name.

A setting's type says what its value is, not how the value looks: `run: 2024-11-24` and `run: no` are names of folders.
"""

import difflib
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from dacformer.errors import UserError, shown
from dacformer.files import write_text
from dacformer.plain_yaml import NOTHING, parse_yaml, yaml_problem
from dacformer.workspace import find_settings, shipped_settings


def _usable(path: Path) -> Path:
    """Puts the home folder for a leading `~`; refuses what no system takes as a path."""
    if "\0" in str(path):
        raise ValueError("a path cannot hold the character NUL")
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"there is no user '{path.parts[0]}'") from None


UserPath = Annotated[Path, AfterValidator(_usable)]
PositiveInt = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Width = Annotated[int, Field(ge=1, le=65536)]
WidthRatio = Annotated[float, Field(ge=0.125, le=64.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]

T = TypeVar("T")
_ONE, _EACH = "one", "each"  # tags that pydantic puts into the place of an error


def _kind_of(value: object) -> str:
    return _EACH if isinstance(value, list | tuple | dict) or getattr(value, "ndim", 0) else _ONE


PerCodebook = Annotated[Annotated[T, Tag(_ONE)] | Annotated[tuple[T, ...], Tag(_EACH)], Discriminator(_kind_of)]
"""One value for all codebooks, or a list of one for each. Which of the two is meant is decided first, so that what is
wrong is said of that one."""
PerChannel = Annotated[
    Annotated[T, Tag(_ONE)] | Annotated[Annotated[dict[str, T], Field(min_length=1)], Tag(_EACH)],
    Discriminator(_kind_of),
]
"""One value for all channels of a condition, or some by name."""


class Settings(BaseModel):
    """A group of settings: immutable, no unknown keys, documented by the text below each field."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class DataConfig(Settings):
    """What is trained on, and how it is cut into batches."""

    path: UserPath = Path("test/data")
    """The data set: a folder with `dataset.yaml`, `manifest.csv` and `.dac` files."""
    segment_frames: PositiveInt = 430
    """Length of a training excerpt (430 frames of a 44.1 kHz codec are five seconds)."""
    batch_size: PositiveInt = 8
    """Excerpts per step, over all processes together."""
    num_workers: Annotated[int, Field(ge=0, le=1024)] = 0
    """Loader processes; 0 loads in the training process, which is enough for codes."""


class ModelConfig(Settings):
    """The transformer's size and shape. `num_codebooks`, `codebook_size` and `condition_dim` come from the data."""

    dim: Width = 256
    """Width of the residual stream, `D`."""
    num_layers: Annotated[int, Field(ge=1, le=256)] = 3
    """Number of transformer layers."""
    num_heads: PositiveInt = 8
    """Attention heads, `H`; `dim` must be a multiple of twice as many (RoPE turns pairs)."""
    window_frames: PositiveInt = 86
    """Attention window `W`, the current frame included."""
    mlp_ratio: WidthRatio = 4.0
    """Width of the MLP, as a multiple of `dim`."""
    film_dim: Width = 128
    """Width of the condition's embedding, from which every layer takes its FiLM."""
    head: Literal["depth", "parallel"] = "depth"
    """`parallel` predicts the codebooks of a frame independently, `depth` one after the other."""
    head_mlp_ratio: WidthRatio = 2.0
    """Width of the `depth` head's MLPs, as a multiple of `dim`."""
    dropout: Share = 0.0
    """Probability of dropout in training, of attention weights and of each sublayer's output."""

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> "ModelConfig":
        if self.dim % (2 * self.num_heads):
            raise ValueError(
                f"dim={self.dim} cannot be shared by num_heads={self.num_heads}: "
                f"expected a multiple of {2 * self.num_heads} (an even width for every head)"
            )
        return self


class TrainingConfig(Settings):
    """Optimizer, regularisation, validation and checkpoints of a training."""

    steps: PositiveInt = 1000
    """Length of the training, in optimizer steps."""
    learning_rate: Annotated[float, Field(gt=0.0, le=1e30)] = 6e-3
    """Peak rate: reached after the warm-up, then a cosine down to a tenth of it."""
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    """Steps of linear warm-up of the learning rate; 0 for none."""
    weight_decay: NonNegative = 0.05
    """Decoupled weight decay (Muon) of the matrices of linear layers; other parameters have none."""
    gradient_clip: Positive = 1.0
    """Largest gradient norm."""
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    """Decay per step of the averaged weights, which validation, samples and generation use; 0 turns it off."""
    condition_dropout: Share = 0.1
    """Share of excerpts trained without any condition, so that guidance works at generation."""
    parameter_dropout: Share = 0.1
    """Share of parameters trained as unknown, so that one may be unset at generation."""
    channel_dropout: dict[str, Share] = {}
    """Share of excerpts trained without a whole channel of the condition, such as {class: 0.1, parameters: 0.1}, so
    that guidance can be set for each channel."""
    input_noise: Share = 0.15
    """Each excerpt's share of input frames replaced at random is drawn between 0 and this."""
    splice_probability: Share = 0.5
    """Share of excerpts that go over into another file midway, half of them into one of the same class, so that a
    control that moves is obeyed at once, whatever sounded before."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """`auto`: bf16 where the hardware computes in it, else float32."""
    seed: Seed = 0
    """Seed of everything random: weights, excerpts, dropout, corrupted codes."""
    validate_every: PositiveInt = 100
    """Steps between validations; each writes a checkpoint, so that the best is never lost."""
    validation_batches: PositiveInt = 8
    """At most so many batches of the validation set are measured."""
    sample_every: Annotated[int, Field(ge=0)] = 500
    """Steps between samples written to the run; 0 writes none."""
    sample_seconds: Positive = 3.0
    """Length of each sample, in seconds."""
    keep_checkpoints: PositiveInt = 2
    """How many of the newest checkpoints are kept, beside the best."""
    select_best_by: Literal["rollout", "nll"] = "rollout"
    """What the best checkpoint is chosen by: `rollout` replays validation clips in free running and compares them in
    the codec's latents, which needs the codec; `nll` takes the lowest validation NLL."""


class SamplingConfig(Settings):
    """How a code is drawn from the model's logits, in training samples and as default at generation."""

    temperature: PerCodebook[NonNegative] = 1.0
    """Below 1 is safer, above is wilder, 0 takes the likeliest; one value, or one per codebook."""
    top_k: PerCodebook[Annotated[int, Field(ge=0)]] = 0
    """Draw among the k likeliest; 0 for no limit; one value, or one per codebook."""
    top_p: PerCodebook[Share] = 1.0
    """Draw among the likeliest that together have this probability; one value, or one per codebook."""
    guidance: PerChannel[NonNegative] = 1.3
    """Classifier-free guidance: 1 is the plain model, more follows the condition more strictly. One value, or one for
    each of some channels, such as {class: 1.5, parameters: 1.1}: they come in one after the other, in this order."""
    precision: Literal["int8", "float32"] = "int8"
    """How the weights are held for a few streams on a CPU. int8 is faster and costs no likelihood (`make bench`)."""


class Config(Settings):
    """A whole training: what `params/*.yaml` holds."""

    run: UserPath = Path("runs/experiment")
    """The run's folder: configuration, metrics, checkpoints, samples."""
    data: DataConfig = DataConfig()
    """The data set, and how it is cut into batches."""
    model: ModelConfig = ModelConfig()
    """Size and shape of the transformer."""
    training: TrainingConfig = TrainingConfig()
    """Optimizer, regularisation, validation, checkpoints."""
    sampling: SamplingConfig = SamplingConfig()
    """How codes are drawn from the model."""


C = TypeVar("C", bound=Settings)

MAX_PROBLEMS, LONGEST_NAME = 10, 100
_PLAIN = {
    "path_type": "expected a path",
    "model_type": "expected settings, such as {steps: 500}",
    "tuple_type": "expected a list, such as [1, 2]",
    "dict_type": "expected names with values, such as {rain: 1}",
    "union_tag_invalid": "expected one of the kinds that there are",
    "union_tag_not_found": "its kind is missing",
}
"""What pydantic says in the words of Python."""


def load_config(path: str | Path, overrides: list[str] | None = None, kind: type[C] = Config) -> C:
    """Reads settings from YAML.

    Args:
        path: A file such as `params/params_sm.yaml`, or the name of shipped settings, such as `sm`.
        overrides: `key=value` words; keys are dotted (`training.steps=200`), values are YAML.
        kind: The section that the file holds.

    Returns:
        The settings, complete and checked.

    Raises:
        UserError: No such file, not YAML, an unknown key (the nearest valid one is named) or a wrong value.
    """
    path = find_settings(path)
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise UserError(
            f"There is no settings file {path}{where}. Give a path, or the name of shipped settings: "
            f"{', '.join(shipped_settings())}."
        ) from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, expected a settings file, such as params/params_med.yaml.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} cannot be read as YAML: it is no UTF-8 text.") from None
    except (yaml.YAMLError, OSError) as error:
        raise UserError(f"{path} cannot be read as YAML: {yaml_problem(error)}") from error
    if tree is None:
        raise UserError(f"{path} is empty, expected settings such as 'training: {{steps: 500}}'.")
    if not isinstance(tree, dict):
        raise UserError(f"{path} holds {type(tree).__name__}, expected settings such as 'training: {{steps: 500}}'.")
    for word in overrides or []:
        _override(tree, word)
    return parse_config(tree, " ".join([str(path), *(overrides or [])]), kind)


def parse_config(tree: dict[str, Any], source: str, kind: type[C] = Config) -> C:
    """Checks settings that are already a tree of dicts.

    Args:
        tree: What YAML gave.
        source: Where it came from, for messages.
        kind: The section to make.

    Returns:
        The settings.

    Raises:
        UserError: An unknown key or a wrong value.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        problems = _without_consequences(error.errors())
        told = [_explain(_setting(problem["loc"], kind), problem, kind) for problem in problems[:MAX_PROBLEMS]]
        more = len(problems) - len(told)
        raise UserError(f"{source}: " + "; ".join(told) + (f"; and {more} more." if more else "")) from None


def _without_consequences(problems: list[Any]) -> list[Any]:
    """Problems without those lists that are too short only since some of their items are problems."""
    inner = {problem["loc"][:depth] for problem in problems for depth in range(len(problem["loc"]))}
    return [problem for problem in problems if problem["type"] != "too_short" or problem["loc"] not in inner]


def save_config(config: Settings, path: str | Path) -> None:
    """Writes settings as YAML that `load_config` reads back to the same settings."""
    write_text(path, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def _override(tree: dict[str, Any], word: str) -> None:
    key, equals, value = word.partition("=")
    if not equals:
        raise UserError(f"'{word}' is no setting. Expected key=value, such as training.steps=200.")
    *sections, name = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise UserError(f"'{key}': '{section}' is a value and has no settings below it.")
    # As it stands, unless it is YAML by its first character: the shell has taken the quotes of `run='a: b #2'`.
    try:
        tree[name] = parse_yaml(value) if value[:1] in {*"[{\"'"} or value in NOTHING else value
    except yaml.YAMLError as error:
        raise UserError(f"'{word}': the value is not YAML: {yaml_problem(error)}") from error


def _setting(loc: tuple[int | str, ...], kind: type[BaseModel]) -> str:
    """The dotted name of what pydantic found a problem in, without its marks for the types that a value may have."""
    names: list[str] = []
    fields, marked = kind.model_fields, False
    for part in loc:
        if not marked:
            names.append(str(part))
        kinds = fields[str(part)].annotation if part in fields else None
        marked = get_origin(kinds) in (Union, UnionType) and len({*get_args(kinds)} - {NoneType}) > 1
        fields = kinds.model_fields if isinstance(kinds, type) and issubclass(kinds, Settings) else {}
    return ".".join(names)


def _explain(where: str, problem: Any, kind: type[BaseModel]) -> str:
    """One line for one problem that pydantic found."""
    where = where if len(where) <= LONGEST_NAME else f"{where[:LONGEST_NAME]}…"
    if problem["type"] == "extra_forbidden":
        valid = _keys(kind)
        tails = {key.rpartition(".")[2]: key for key in valid}
        tail = difflib.get_close_matches(where.rpartition(".")[2], tails, n=1)
        sections = [key.partition(".")[0] for key in valid]
        near = difflib.get_close_matches(where, [*sections, *valid], n=1, cutoff=0.5) or [tails[name] for name in tail]
        hint = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(valid)}"
        return f"unknown setting '{where}'. {hint}"
    given = "" if isinstance(problem["input"], dict | Settings) else f" (given: {shown(problem['input'])})"
    message = _PLAIN.get(problem["type"]) or " ".join(problem["msg"].removeprefix("Value error, ").split())
    return f"'{where}': {message}{given}" if where else message


def _keys(kind: type[BaseModel], prefix: str = "") -> list[str]:
    """The dotted names of all settings below a section."""
    names = []
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            names += _keys(field.annotation, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names
