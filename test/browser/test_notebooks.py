"""Both notebooks as a person opens them: every cell runs, and nothing that is shown is an error or a warning."""

from typing import Any

import nbformat
import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from .lab import Lab, Notebook, picture

pytestmark = pytest.mark.browser

QUICK = [
    "training.steps=4",
    "training.validate_every=2",
    "training.sample_every=4",
    "training.sample_seconds=0.5",
    "training.select_best_by=nll",
]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Train.ipynb", {"overrides": QUICK, "clips_per_class": 2, "seconds": 1.0}),
        ("CKPT_DAC_AUDIO.ipynb", {"overrides": QUICK, "seconds": 1.0}),
    ],
)
def test_a_notebook_runs_and_shows_nothing_odd(lab: Lab, page: Any, name: str, parameters: dict[str, Any]) -> None:
    path = lab.folder / name
    nbformat.write(parameterize_notebook(load_notebook_node(str(path)), parameters), path)
    notebook = Notebook(lab, page, name)
    notebook.run_all()
    assert notebook.complaints == []
    assert notebook.raw == []
    page.set_viewport_size({"width": 1366, "height": 9000})  # all of it in sight
    page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTop = 0")
    # All outputs are laid out, which JupyterLab does when they come into sight.
    page.wait_for_function(f"document.querySelectorAll('.jp-OutputArea-output').length >= {len(notebook.outputs)}")
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    cut_off = page.evaluate(
        """() => [...document.querySelectorAll(".jp-OutputArea-output")]
            .filter((each) => each.scrollWidth > each.clientWidth + 1).map((each) => each.innerText.slice(0, 80))"""
    )
    assert cut_off == []
    last = page.locator(".jp-Notebook .jp-Cell").last.bounding_box()
    height = min(9000, last["y"] + last["height"] + 10)
    picture(page, path.stem, clip={"x": 0, "y": 0, "width": 1366, "height": height})
    notebook.close()
