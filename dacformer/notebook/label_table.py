"""Labels by hand: a table of a folder's sounds, each with a player, a spectrogram and fields for its labels."""

import html
from collections.abc import Mapping
from pathlib import Path

import ipywidgets as widgets
import pandas as pd

from dacformer import audio as sound
from dacformer.data.check import check_sounds
from dacformer.data.label_numbers import is_unknown, read_numbers
from dacformer.data.label_rows import Label, find_labels
from dacformer.data.labels import label_files, read_label_table, write_label_table
from dacformer.data.names import class_name, parameter_name
from dacformer.display.audio_plots import plot_sounds
from dacformer.display.html import audio_html, figure_html
from dacformer.errors import UserError
from dacformer.files import replacing

LABELS_FILE = "labels.csv"
PREVIEW_SECONDS = 5.0  # of each clip


def label_sounds(folder: str | Path, parameters: tuple[str, ...] = (), page_rows: int = 6) -> "LabelTable":
    """Show a table of a folder's sounds, in which labels can be filled in.

    Args:
        folder: Folder of sounds, searched with all subfolders. It is made if it does not exist.
        parameters: Names of further columns, beside those of file names and of the folder's `labels.csv`.
        page_rows: Number of sounds per page.

    Returns:
        The table; `table.save()` writes `labels.csv`, for `encode_folder(..., labels=...)`.

    Raises:
        UserError: `labels.csv` cannot be read, or a name is not allowed for a parameter.
    """
    for name in parameters:
        parameter_name(name, "parameters")
    return LabelTable(Path(folder), parameters, page_rows)


class LabelTable(widgets.VBox):
    """The table that `label_sounds` makes. Every cell is text, and text that is not valid is kept.

    Attributes:
        cells: Text by file and column. Columns are `class` and the parameters; empty means unknown.
        problems: Problems that `check_sounds` found, by file.
        message: Widget with the result of the last action.
    """

    def __init__(self, folder: Path, parameters: tuple[str, ...], page_rows: int) -> None:
        """Build the table; `label_sounds` is the usual way."""
        self.folder, self.page_rows = folder, page_rows
        folder.mkdir(parents=True, exist_ok=True)
        self.cells = pd.DataFrame(columns=["class", *parameters], dtype=str)
        self.problems: Mapping[str, str] = {}
        self.message = widgets.HTML()
        self.upload = widgets.FileUpload(
            multiple=True, description="Drop sounds here", layout=widgets.Layout(width="max-content")
        )
        self.page = widgets.BoundedIntText(1, min=1, max=1, description="page", layout=widgets.Layout(width="140px"))
        self.parameter = widgets.Text(placeholder="another parameter", layout=widgets.Layout(width="160px"))
        self._add, self._save = widgets.Button(description="Add column"), widgets.Button(description="Save labels")
        self._save.button_style = "primary"
        self._grid = widgets.VBox()
        bar = widgets.HBox([self.upload, self.page, self.parameter, self._add, self._save])
        super().__init__([bar, self.message, self._grid])
        self.read()
        self.upload.observe(self._on_upload, "value")
        self.page.observe(lambda _: self._draw(), "value")
        self._add.on_click(lambda _: self.add_parameter(self.parameter.value))
        self._save.on_click(self._on_save)

    def read(self) -> None:
        """Read the folder again and add new sounds, with the labels of `labels.csv` or of their names."""
        try:
            paths = sound.find_audio(self.folder)
        except UserError:
            self._say(f"No sound in {self.folder} yet. Drop some, or put them there and call read().")
            return
        files = [path.relative_to(self.folder).as_posix() for path in paths]
        self.problems = dict(check_sounds(self.folder).set_index("file")["problem"])
        new = [i for i, file in enumerate(files) if file not in self.cells.index]
        for i, label in zip(new, self._labels([paths[i] for i in new]), strict=True):
            self.cells.loc[files[i], "class"] = label.class_name
            for name, value in label.parameters.items():
                self.cells.loc[files[i], name] = str(value)
        self.cells = self.cells.reindex(files).fillna("")
        self.page.max = -(-len(files) // self.page_rows)
        broken = sum(bool(problem) for problem in self.problems.values())
        self._say(f"{len(files)} sounds" + (f", {broken} with a problem" if broken else ""))
        self._draw()

    def add_parameter(self, name: str) -> None:
        """Add a column for a parameter. If the name is not allowed or taken, show a message instead."""
        try:
            name = parameter_name(name, "Add column")
        except UserError as error:
            self._say(str(error))
            return
        if name.casefold() in {column.casefold() for column in self.cells}:
            self._say(f"There is a parameter '{name}' already. Give the new one another name.")
            return
        self.cells[name] = ""
        self._draw()

    def labels(self) -> dict[str, Label]:
        """Return the labels in the cells.

        Raises:
            UserError: A class is missing, or a parameter is not a number; the message names file and column.
        """
        files = [str(file) for file in self.cells.index]
        numbers: dict[str, dict[str, float]] = {file: {} for file in files}
        for name in self.cells.columns[1:]:
            known = [file for file in files if not is_unknown(self.cells.loc[file, name])]
            typed = [self.cells.loc[file, name] for file in known]
            read = read_numbers(typed, [f"'{file}'" for file in known], name)
            if read is None:
                raise UserError(
                    f"'{known[0]}': {name} is '{typed[0]}', which is no number. Mend it, or leave it empty."
                )
            for file, number in zip(known, read, strict=True):
                numbers[file][name] = number
        return {
            file: Label(class_name(self.cells.loc[file, "class"], f"'{file}' (class)"), numbers[file]) for file in files
        }

    def save(self, path: str | Path | None = None) -> Path:
        """Write the labels. An older file is kept under another name.

        Args:
            path: A `.csv` file; `labels.csv` in the folder if None.

        Returns:
            The path.

        Raises:
            UserError: As in `labels`. Nothing is written in this case.
        """
        return write_label_table(self.folder / LABELS_FILE if path is None else path, self.labels())

    def _labels(self, paths: list[Path]) -> list[Label]:
        """Labels from `labels.csv`; for sounds that it does not list, from file and folder names."""
        table = self.folder / LABELS_FILE
        written = read_label_table(table) if table.is_file() else {}
        found = find_labels(paths, self.folder, written)
        new = [path for path, label in zip(paths, found, strict=True) if label is None]
        spoken = iter(label_files(new, self.folder))
        return [next(spoken) if label is None else label for label in found]

    def _on_upload(self, _: object) -> None:
        for file in self.upload.value:
            target = self.folder / Path(file["name"]).name
            if target.suffix.lower() not in sound.AUDIO_SUFFIXES or target.exists():
                self._say(f"{target.name} was left out: it is no sound, or the folder has one of this name.")
                continue
            with replacing(target) as part:
                part.write_bytes(file["content"])
        self.read()

    def _on_save(self, _: object) -> None:
        try:
            self._say(f"Saved {self.save()}.")
        except UserError as error:
            self._say(str(error))

    def _say(self, text: str) -> None:
        self.message.value = html.escape(text)

    def _draw(self) -> None:
        """Show the rows of the current page."""
        start = (self.page.value - 1) * self.page_rows
        self._grid.children = [self._row(str(file)) for file in self.cells.index[start : start + self.page_rows]]

    def _row(self, file: str) -> widgets.HBox:
        return widgets.HBox([widgets.HTML(self._card(file)), widgets.VBox([self._cell(file, c) for c in self.cells])])

    def _card(self, file: str) -> str:
        problem = self.problems.get(file, "")
        title = f"<b>{html.escape(file)}</b> <span style='color: #b04000'>{html.escape(problem)}</span>"
        try:
            rate = 44100
            audio = sound.read_audio(self.folder / file, rate)[: round(PREVIEW_SECONDS * rate)]
        except UserError:
            return title
        picture = figure_html(plot_sounds({"": audio}, rate), dpi=60)
        return f'<div style="width: 340px">{title}{picture}{audio_html(audio, rate)}</div>'

    def _cell(self, file: str, column: str) -> widgets.Widget:
        layout, style = widgets.Layout(width="240px"), {"description_width": "90px"}
        known = tuple(sorted({name for name in self.cells["class"] if name})) if column == "class" else ()
        text = self.cells.loc[file, column]
        cell = widgets.Combobox(value=text, options=known, description=column, layout=layout, style=style)

        def keep(change: Mapping[str, str]) -> None:
            self.cells.loc[file, column] = change["new"]

        cell.observe(keep, "value")
        return cell
