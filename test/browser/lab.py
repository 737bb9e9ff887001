"""A JupyterLab that runs, and a notebook that is open in it, as the tests see them."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import nbformat

OUTPUTS = "window.jupyterapp.shell.currentWidget.content.widgets.flatMap((cell) => cell.model.outputs?.toJSON() ?? [])"


class Lab(NamedTuple):
    """A running JupyterLab."""

    url: str
    token: str
    folder: Path


class Notebook:
    """A notebook that is open in a page."""

    def __init__(self, lab: Lab, page: Any, name: str) -> None:
        self.lab, self.page, self.name = lab, page, name
        page.goto(f"{lab.url}/lab/tree/{name}?token={lab.token}&reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        page.wait_for_function("window.jupyterapp.shell.currentWidget?.sessionContext?.isReady")
        page.evaluate("window.jupyterapp.shell.collapseLeft()")

    def run_all(self) -> None:
        """Runs all cells; what fails is seen in the page."""
        self.page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def wait_for(self, expression: str) -> None:
        """Waits until this is true in the page, or until a cell has failed, which nothing more comes of."""
        failed = f"{OUTPUTS}.some((output) => output.output_type === 'error')"
        self.page.wait_for_function(f"{expression} || {failed}")

    def run(self, source: str) -> str:
        """Runs code in the notebook's kernel, as a cell at the end would, and returns what it prints."""
        return self.page.evaluate(
            """async (code) => {
                const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                const future = kernel.requestExecute({ code, store_history: false });
                let text = "";
                future.onIOPub = ({ content }) => {
                    text += content.text ?? (content.traceback ?? []).join("\\n");
                };
                const reply = await future.done;
                if (reply.content.status !== "ok") throw new Error(text);
                return text.trim();
            }""",
            source,
        )

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """All that the cells show."""
        return self.page.evaluate(OUTPUTS)

    @property
    def complaints(self) -> list[str]:
        """Errors, and what was said on stderr."""
        return [
            str(output) for output in self.outputs if output["output_type"] == "error" or output.get("name") == "stderr"
        ]

    @property
    def raw(self) -> list[str]:
        """What is shown as it would be in a terminal, for lack of anything better."""
        shown = [output.get("data", {}) for output in self.outputs]
        return [data["text/plain"] for data in shown if set(data) == {"text/plain"}]

    def close(self) -> None:
        """Ends the kernel."""
        self.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")


def picture(shown: Any, name: str, **options: Any) -> None:
    """Keeps what a page or a part of it looks like, in the folder that is named by SCREENSHOTS, if one is."""
    if "SCREENSHOTS" in os.environ:
        shown.screenshot(path=Path(os.environ["SCREENSHOTS"]) / f"{name}.png", **options)


def write_notebook(path: Path, *cells: str) -> None:
    """A notebook of code cells."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    made.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(made, path)
