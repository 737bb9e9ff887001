"""Report of a run: runs all measurements and writes one HTML page, one JSON file, and the files of each section.

The folder of the report records which sections are done. So an interrupted report continues where it stopped, and
sections whose configuration has not changed are not measured again.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from dacformer.data.dataset import Dataset, load_dataset
from dacformer.errors import UserError
from dacformer.evaluation.control import measure_control, write_control_report
from dacformer.evaluation.html_report import write_page
from dacformer.evaluation.likeness import measure_likeness, write_likeness_report
from dacformer.evaluation.morph import measure_morph, write_morph_report
from dacformer.evaluation.moving import measure_moving, write_moving_report
from dacformer.evaluation.nll import measure_nll, write_nll_report
from dacformer.evaluation.parameters import measure_parameters, write_parameters_report
from dacformer.evaluation.references import known_textures
from dacformer.evaluation.side_by_side import make_side_by_side, write_side_by_side
from dacformer.evaluation.stability import measure_stability, write_stability_report
from dacformer.files import write_text
from dacformer.generation.synthesizer import Synthesizer

DONE_FILE = "done.json"
"""File in a report's folder: for each section, the configuration and checkpoint that it was measured with."""

logger = logging.getLogger(__name__)


class Result(Protocol):
    """Interface of the results of all measurements."""

    def to_text(self) -> str:
        """A table to print."""
        ...


@dataclass(frozen=True)
class EvaluationConfig:
    """Configuration of an evaluation.

    Attributes:
        synth: The model.
        data: Folder of the data set; if None, the one that the model was trained on.
        recordings: Folder that the data set was encoded from, for comparison with the original recordings.
        classes: Names of classes to measure; all if empty.
        values: Number of values of each parameter.
        seeds: Number of takes of each value.
        seconds: Length of each take.
        minutes: Length of the takes for stability, in minutes.
        sampling: Sampling settings that replace those of the run, as in `Synthesizer.generate`.
    """

    synth: Synthesizer
    data: Path | None = None
    recordings: Path | None = None
    classes: Sequence[str] = ()
    values: int = 11
    seeds: int = 3
    seconds: float = 4.0
    minutes: float = 10.0
    sampling: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def dataset(self) -> Dataset:
        """The data set.

        Raises:
            UserError: It is missing or damaged.
        """
        path = self.data or self.synth.checkpoint.metadata.config.data.path
        try:
            return load_dataset(path)
        except UserError as error:
            raise UserError(f"{error} The run is compared with its data set: say where that is with --data.") from None

    def to_json(self) -> dict[str, Any]:
        """Returns everything that the results depend on."""
        asked = {name: getattr(self, name) for name in ("values", "seeds", "seconds", "minutes", "sampling")}
        places = {name: str(path) if (path := getattr(self, name)) else None for name in ("data", "recordings")}
        return asked | places | {"checkpoint": self.synth.checkpoint.identity, "classes": list(self.classes)}

    def knows_textures(self) -> bool:
        """Whether any class is a procedural texture, whose parameter has a descriptor of its own."""
        try:
            return bool(known_textures(self.synth))
        except UserError:
            return False

    def knows_only_own_parameters(self) -> bool:
        """Whether there are parameters, and none is a procedural texture's."""
        return bool(self.synth.conditions.parameters) and not self.knows_textures()

    def knows_several_classes(self) -> bool:
        """Whether there are two or more classes, so that a morph is possible."""
        return len(self.synth.conditions.classes) > 1


@dataclass(frozen=True)
class ReportSection:
    """Section of the report.

    Attributes:
        heading: Title on the page.
        about: Explanation of how to read it.
        measure: Function that runs the measurement.
        write: Function that writes a result into a folder: `<name>.png` and, if there is a summary, `<name>.json`.
        fits: Function that decides whether the section is measured when no sections are named.
    """

    heading: str
    about: str
    measure: Callable[[EvaluationConfig], Result]
    write: Callable[[Any, Path], list[Path]]
    fits: Callable[[EvaluationConfig], bool] = lambda _: True


SECTIONS = {
    "side_by_side": ReportSection(
        "Side by side",
        "A held-out clip of each class, through the codec, and two takes.",
        lambda config: make_side_by_side(config.synth, config.dataset, config.seconds, **config.sampling),
        write_side_by_side,
    ),
    "control": ReportSection(
        "Control and class",
        "Each parameter requested at several values, in free running: correlation with the descriptor that is "
        "measured, and the share of clips whose class a classifier predicts; _real is real textures through the codec.",
        lambda config: measure_control(
            config.synth, config.classes, config.values, config.seeds, config.seconds, **config.sampling
        ),
        write_control_report,
        EvaluationConfig.knows_textures,
    ),
    "parameters": ReportSection(
        "Parameters",
        "Each parameter requested at several values, and what the standard descriptors say; _real is real clips with "
        "these values, through the codec. Look for descriptors that move with the parameter in real clips.",
        lambda config: measure_parameters(
            config.synth, config.dataset, config.classes, config.values, config.seeds, config.seconds, **config.sampling
        ),
        write_parameters_report,
        EvaluationConfig.knows_only_own_parameters,
    ),
    "moving": ReportSection(
        "Ramps and steps",
        "Spearman correlation on slow ramps, and seconds until 80 % of a step has arrived; _real is two real textures, "
        "one after the other.",
        lambda config: measure_moving(config.synth, config.classes, **config.sampling),
        write_moving_report,
        EvaluationConfig.knows_textures,
    ),
    "morph": ReportSection(
        "Morphs",
        "Between two classes: whether the second grows with its weight, the share of any third class in between, and "
        "the probability of the right class at both ends.",
        lambda config: measure_morph(
            config.synth, config.dataset, config.classes, config.seeds, config.seconds, **config.sampling
        ),
        write_morph_report,
        EvaluationConfig.knows_several_classes,
    ),
    "nll": ReportSection(
        "Likelihood",
        "Nats per code: of held-out clips, of the model's own takes, and of held-out clips for a unigram model.",
        lambda config: measure_nll(config.synth, config.dataset, config.seconds, **config.sampling),
        write_nll_report,
    ),
    "likeness": ReportSection(
        "Likeness and novelty",
        "Texture statistics and Fréchet distance of the codec's latents, generated against held-out clips; _floor is "
        "held-out against held-out. novelty: distance to the nearest training excerpt, over that of held-out ones; "
        "variety: the same between takes. recorded_ and a word: texture statistics against the recordings themselves, "
        "of what is generated and of held-out clips through the codec (with --recordings).",
        lambda config: measure_likeness(
            config.synth, config.dataset, config.classes, recordings=config.recordings, **config.sampling
        ),
        write_likeness_report,
    ),
    "stability": ReportSection(
        "Stability",
        "Minutes of free running, everything held still. drift: of the descriptor, over the whole take by a straight "
        "line, in standard deviations of real clips, with its 95 % interval; class_first and _last: probability of its "
        "class in the first and last fifth; longest silence and exact repetition of codes; _real is real clips.",
        lambda config: measure_stability(
            config.synth, config.dataset, config.classes, config.minutes, **config.sampling
        ),
        write_stability_report,
    ),
}
"""Sections by name, in the order in which they are measured."""


def write_report(config: EvaluationConfig, folder: Path, only: Sequence[str] = (), again: bool = False) -> list[Path]:
    """Measures the sections of a report and writes it. The page is updated, and a table logged, after each section.

    Args:
        config: Configuration of the evaluation.
        folder: Folder for `report.html`, `report.json` and the files of each section; made if missing.
        only: Names of `SECTIONS`; if empty, all that fit the run.
        again: Measure sections again that are already done.

    Returns:
        Paths of the written files.

    Raises:
        UserError: A section is unknown, or cannot be measured for this run.
    """
    for name in only:
        if name not in SECTIONS:
            raise UserError(f"'{name}' is no part of the report. There are: {', '.join(SECTIONS)}.")
    chosen = list(only) or [name for name, section in SECTIONS.items() if section.fits(config)]
    folder.mkdir(parents=True, exist_ok=True)
    done_file = folder / DONE_FILE
    done = json.loads(done_file.read_text(encoding="utf-8")) if done_file.is_file() else {}
    written: list[Path] = []
    headings = {name: (section.heading, section.about) for name, section in SECTIONS.items()}
    identity = config.synth.checkpoint.identity
    for name in chosen:
        measured_with = config.to_json()
        if done.get(name) == measured_with and not again:
            logger.info("%s: was measured before (--again measures once more)", name)
            continue
        result = SECTIONS[name].measure(config)
        logger.info("%s:\n%s\n", name, result.to_text())
        written += SECTIONS[name].write(result, folder)
        done[name] = measured_with
        write_text(done_file, json.dumps(done, indent=2))
        write_page(folder, identity, headings)
    return [*written, *write_page(folder, identity, headings)]
