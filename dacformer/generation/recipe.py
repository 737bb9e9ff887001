"""Recipes: what made a take, typed, checked where they are read, and written as JSON."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator

from dacformer.config import NonNegative, Positive, SamplingConfig, Settings, parse_config
from dacformer.errors import UserError
from dacformer.generation.controls import Controls, JsonControls
from dacformer.generation.sampling import Sampling, parse_sampling, read_changes

JsonSampling = Annotated[Sampling, PlainValidator(Sampling.from_json), PlainSerializer(Sampling.to_json)]
"""Sampling in a file."""


def _read_changes(tree: Any) -> dict[str, Any]:
    changes = read_changes(tree)
    parse_sampling(SamplingConfig(), changes)
    return changes


def _write_changes(changes: dict[str, Any]) -> dict[str, Any]:
    plain = parse_sampling(SamplingConfig(), changes).to_json()
    return {name: plain[name] for name in changes}


JsonChanges = Annotated[dict[str, Any], PlainValidator(_read_changes), PlainSerializer(_write_changes)]
"""Settings of the sampling by name, some of them `Curve`s, in a file."""


class Generate(Settings):
    """A take was made from nothing."""

    edit: Literal["generate"] = "generate"
    seconds: Positive
    seed: int


class Prompt(Settings):
    """A sound was encoded, to be continued."""

    edit: Literal["prompt"] = "prompt"
    prompt: str
    """The file's name, or `codes`."""


class Extend(Settings):
    """A take was continued: once (`extend`), or several times side by side (`branch`)."""

    edit: Literal["extend", "branch"]
    seconds: Positive
    seed: int
    controls: JsonControls | None = None
    """Of the new part, in its own time; those of the take went on if None."""
    sampling: JsonChanges = {}
    """Settings that were changed, in the new part's time."""


class Cut(Settings):
    """The beginning of a take was kept."""

    edit: Literal["cut"] = "cut"
    at_seconds: NonNegative


class Loop(Settings):
    """A loop was cut out of a take."""

    edit: Literal["loop"] = "loop"
    seconds: Positive
    at_seconds: NonNegative
    """Where it began in the take."""


Edit = Annotated[Generate | Prompt | Extend | Cut | Loop, Field(discriminator="edit")]


class Recipe(Settings):
    """All that makes a take again: `Synthesizer.generate` by it draws the same codes."""

    checkpoint: str
    """Identity of the model."""
    codec: str
    """Identity of the codec."""
    controls: JsonControls = Controls()
    """What steered it, in the take's own time."""
    sampling: JsonSampling
    """How its codes were drawn."""
    seed: int
    take: Annotated[int, Field(ge=0)] = 0
    """Its number among those made side by side."""
    seconds: Positive
    """Its length."""
    prompt: str | None = None
    """What it continues: a file's name, or `codes`."""
    prompt_frames: Annotated[int, Field(ge=0)] = 0
    """Frames that are the prompt's."""
    edits: Annotated[tuple[Edit, ...], Field(min_length=1)]
    """Everything that was done, in order."""

    def after(self, edit: Edit, **changes: Any) -> "Recipe":
        """The recipe of a take that an edit makes.

        Args:
            edit: What is done.
            **changes: Fields that differ.
        """
        return self.model_copy(update={**changes, "edits": (*self.edits, edit)})

    def to_json(self) -> dict[str, Any]:
        """The plain form that files hold."""
        return self.model_dump(mode="json", exclude_none=True)


def parse_recipe(recipe: "str | dict[str, Any]", name: str) -> Recipe:
    """Checks a recipe that was read from a file: every part of it, here and nowhere else.

    Args:
        recipe: As JSON, or as a tree.
        name: Of the file.

    Returns:
        The recipe.

    Raises:
        UserError: There is none (the codes came from elsewhere), or a part is missing or impossible. Whether a model
            knows what it names is for `Synthesizer.load_take`.
    """
    try:
        tree = json.loads(recipe) if isinstance(recipe, str) else recipe
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        raise UserError(f"{name} tells no recipe: it is no take. To go on from it, use synth.continue_from.")
    return parse_config(tree, name, Recipe)
