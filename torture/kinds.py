"""The kinds of input: what they are made from, how they are mutated, and what is done with one."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torture import formats, seeds, tries
from torture.formats import Mutation
from torture.workshop import Workshop

TryOne = Callable[[Path, Workshop], None]


@dataclass(frozen=True)
class Variant:
    """A file that is mutated.

    Attributes:
        file: Its place below the kind's folder.
        seeds: Whole files to start from.
        mutate: Makes another one of one of them.
        try_one: What is done with it.
        around: What lies in the folder beside it, if anything; copied once per worker.
    """

    file: str
    seeds: tuple[bytes, ...]
    mutate: Mutation
    try_one: TryOne
    around: Path | None = None


@dataclass(frozen=True)
class Kind:
    """Inputs of one sort; number `i` is always the same for one seed, and is of variant `i % len(variants)`."""

    name: str
    variants: tuple[Variant, ...]

    def make(self, seed: int, number: int) -> tuple[Variant, bytes]:
        """The variant of an input, and its bytes."""
        rng = random.Random(f"{seed} {self.name} {number}")
        variant = self.variants[number % len(self.variants)]
        return variant, variant.mutate(rng.choice(variant.seeds), rng)


def make_kinds(workshop: Workshop) -> dict[str, Kind]:
    """All kinds, by name."""
    folder, run = workshop.folder, workshop.folder / "run"
    dac_seeds = seeds.read_all(*sorted((folder / "set").rglob("*.dac"))[:2], folder / "takes/foreign.dac")
    kinds = (
        Kind("dac", (Variant("a.dac", dac_seeds, formats.mutate_npy_pickle, tries.try_dac),)),
        Kind(
            "sound",
            tuple(Variant(f"a{s}", seeds.sounds(s), formats.mutate_sound, tries.try_sound) for s in seeds.CODINGS),
        ),
        Kind(
            "labels",
            (
                Variant("a.csv", seeds.tables(".csv"), seeds.mutate_table, tries.try_labels),
                Variant("a.xlsx", seeds.tables(".xlsx"), formats.mutate_zip(formats.mutate_xml), tries.try_labels),
            ),
        ),
        Kind("settings", _settings(folder, run)),
        Kind(
            "manifest",
            (_within(folder / "set", "manifest.csv", seeds.mutate_manifest, tries.try_dataset),),
        ),
        Kind("checkpoint", _checkpoints(folder, run)),
        Kind("recipe", _recipes(workshop, folder / "takes")),
        Kind("words", (Variant("words.txt", seeds.COMMANDS, seeds.mutate_command, tries.try_words),)),
    )
    return {kind.name: kind for kind in kinds}


def _within(around: Path, file: str, mutate: Mutation, try_one: TryOne) -> Variant:
    """A file that only makes sense among its neighbours."""
    return Variant(file, seeds.read_all(around / file), mutate, try_one, around)


def _newest(run: Path) -> str:
    """The last checkpoint's place below its run."""
    return str(max((run / "checkpoints").iterdir()).relative_to(run))


def _settings(folder: Path, run: Path) -> tuple[Variant, ...]:
    mutate = formats.mutate_yaml
    return (
        Variant("params.yaml", seeds.read_all(folder / "params.yaml"), mutate, tries.try_settings),
        Variant("codec.yaml", seeds.read_all(folder / "codec.yaml"), mutate, tries.try_codec_settings),
        _within(folder / "set", "dataset.yaml", mutate, tries.try_dataset),
        _within(run, f"{_newest(run)}/config.yaml", mutate, tries.try_checkpoint),
        Variant("live.yaml", (seeds.MAPPING,), mutate, tries.try_mapping),
    )


def _checkpoints(folder: Path, run: Path) -> tuple[Variant, ...]:
    weights, state = formats.mutate_safetensors, formats.mutate_zip(formats.mutate_pickle)
    return (
        _within(run, f"{_newest(run)}/model.safetensors", weights, tries.try_checkpoint),
        _within(run, f"{_newest(run)}/train_state.pt", state, tries.try_resume),
        Variant("a.safetensors", seeds.read_all(folder / "tiny.safetensors"), weights, tries.try_codec),
        Variant("a.pth", seeds.read_all(folder / "tiny.pth"), state, tries.try_codec),
        _within(run, "metrics.jsonl", seeds.mutate_metrics, tries.try_metrics),
    )


def _recipes(workshop: Workshop, takes: Path) -> tuple[Variant, ...]:
    """A take's recipe in each of the places where it is kept, and its controls."""
    in_dac, in_wav = seeds.recipe_in(seeds.dac_with_recipe(workshop)), seeds.recipe_in(seeds.wav_with_comment)
    return (
        Variant("a.dac", seeds.recipes(workshop), in_dac, tries.try_take),
        Variant("a.wav", seeds.recipes(workshop), in_wav, tries.try_take),
        _within(takes / "whole", "recipe.yaml", seeds.mutate_recipe_yaml, tries.try_take),
        _within(takes / "whole", "controls.yaml", seeds.mutate_recipe_yaml, tries.try_take),
    )
