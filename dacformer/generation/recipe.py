"""Recipes: typed records of how takes were made. They are checked when they are read, and written as JSON."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator

from dacformer.config import NonNegative, Positive, SamplingConfig, Settings, parse_config
from dacformer.errors import UserError
from dacformer.generation.controls import Controls, JsonControls
from dacformer.generation.sampling import Sampling, parse_sampling, read_changes

JsonSampling = Annotated[Sampling, PlainValidator(Sampling.from_json), PlainSerializer(Sampling.to_json)]
"""Sampling as a field of a recipe."""


JsonSeed = Annotated[int, Field(gt=-(2**63), lt=2**63)]
"""A seed in a file. Older files hold some below 0."""


def _read_changes(tree: Any) -> dict[str, Any]:
    changes = read_changes(tree)
    parse_sampling(SamplingConfig(), changes)
    return changes


def _write_changes(changes: dict[str, Any]) -> dict[str, Any]:
    plain = parse_sampling(SamplingConfig(), changes).to_json()
    return {name: plain[name] for name in changes}


JsonChanges = Annotated[dict[str, Any], PlainValidator(_read_changes), PlainSerializer(_write_changes)]
"""Changed sampling settings by name, as a field of a recipe; some may be `Curve`s."""


class Generate(Settings):
    """Edit: a take was generated from an empty start."""

    edit: Literal["generate"] = "generate"
    seconds: Positive
    seed: JsonSeed


class Prompt(Settings):
    """Edit: a sound was encoded, or codes were given, to be continued."""

    edit: Literal["prompt"] = "prompt"
    prompt: str
    """Path of the file, or `codes`."""


class Extend(Settings):
    """Edit: a take was continued once (`extend`), or several times side by side (`branch`)."""

    edit: Literal["extend", "branch"]
    seconds: Positive
    seed: JsonSeed
    controls: JsonControls | None = None
    """Controls of the new part; time 0 is where it begins. None: the take's controls continued."""
    sampling: JsonChanges = {}
    """Sampling settings that were changed. Time 0 of a curve is where the new part begins."""


class Cut(Settings):
    """Edit: only the beginning of a take was kept."""

    edit: Literal["cut"] = "cut"
    at_seconds: NonNegative
    """Where the new take ends."""


class Loop(Settings):
    """Edit: a loop was cut out of a take."""

    edit: Literal["loop"] = "loop"
    seconds: Positive
    at_seconds: NonNegative
    """Where the loop began in that take."""


Edit = Annotated[Generate | Prompt | Extend | Cut | Loop, Field(discriminator="edit")]


class Recipe(Settings):
    """Record of how a take was made.

    For a take that was generated at once, `Synthesizer.generate` with these values draws the same codes. `controls`
    cover the whole take. `sampling` and `seed` are those of the newest part; the earlier ones are in `edits`.
    """

    checkpoint: str
    """Identity of the checkpoint: run, step, and the start of the hash of its weights."""
    codec: str
    """Identity of the codec."""
    controls: JsonControls = Controls()
    """The controls. Their times are seconds of the take."""
    sampling: JsonSampling
    """How the newest part was drawn. Times of curves are seconds of the take."""
    seed: JsonSeed
    """Seed of the newest part."""
    take: Annotated[int, Field(ge=0)] = 0
    """Index among the takes that were drawn side by side, from 0."""
    seconds: Positive
    """Length of the take."""
    prompt: str | None = None
    """What it continues: the path of a file, or `codes`. None: nothing."""
    prompt_frames: Annotated[int, Field(ge=0)] = 0
    """Number of frames at the beginning that are the prompt."""
    edits: Annotated[tuple[Edit, ...], Field(min_length=1)]
    """All edits, in order."""

    def after(self, edit: Edit, **changes: Any) -> "Recipe":
        """Returns the recipe of the take that an edit of this one makes.

        Args:
            edit: The edit; it is appended to `edits`.
            **changes: Fields of the recipe with new values.
        """
        return self.model_copy(update={**changes, "edits": (*self.edits, edit)})

    def to_json(self) -> dict[str, Any]:
        """Returns the form that files hold: dicts, lists, strings and numbers."""
        return self.model_dump(mode="json", exclude_none=True)


def parse_recipe(recipe: "str | dict[str, Any]", name: str) -> Recipe:
    """Checks a recipe that was read from a file. This is the only place where recipes are checked.

    Whether a model knows the classes and parameters of a recipe is checked by `Synthesizer.load_take`.

    Args:
        recipe: The recipe as JSON text, or already parsed.
        name: Name of the file, for messages.

    Returns:
        The recipe.

    Raises:
        UserError: There is no recipe (the codes are not from dacformer), or a field is missing or not allowed.
    """
    try:
        tree = json.loads(recipe) if isinstance(recipe, str) else recipe
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        raise UserError(f"{name} tells no recipe: it is no take. To go on from it, use synth.continue_from.")
    return parse_config(tree, name, Recipe)
