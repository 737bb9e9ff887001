"""Puts the settings, the notebooks and the tiny dataset, which lie at the root of the repository, into the wheel."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHIPPED = ("params", "Train.ipynb", "CKPT_DAC_AUDIO.ipynb", "test/data")


class ShippedFiles(BuildHookInterface):
    """Maps each shipped file into `dacformer/shipped`, laid out there as at the root."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files to a wheel; an editable install reads them where they lie."""
        if version != "editable":
            build_data["force_include"] |= {name: f"dacformer/shipped/{name}" for name in SHIPPED}
