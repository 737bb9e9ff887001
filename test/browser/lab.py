"""A JupyterLab that runs, and a notebook that is open in it, as the tests see them."""

from pathlib import Path
from typing import Any, NamedTuple

import nbformat


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
    def complaints(self) -> list[str]:
        """Errors and warnings that stand in the page."""
        shown = ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error'], "
        shown += ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']"
        return [text for text in self.page.locator(shown).all_inner_texts() if "it/s" not in text]

    def close(self) -> None:
        """Ends the kernel."""
        self.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")


def write_notebook(path: Path, *cells: str) -> None:
    """A notebook of code cells."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    made.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(made, path)
