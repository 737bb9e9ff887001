"""The settings, notebooks and the tiny dataset that come with the package.

In a clone they lie at its root (`params/`, `Train.ipynb`, ...); in a wheel, in `dacformer/shipped`.
"""

import shutil
from pathlib import Path

from dacformer.errors import UserError

PARAMS_FOLDER = "params"
DATA_FOLDER = "test/data"
"""The dataset that `params_sm.yaml` and both notebooks train on as they are."""
NOTEBOOKS = ("Train.ipynb", "CKPT_DAC_AUDIO.ipynb")


def shipped_root() -> Path:
    """The folder that holds `params/` and the notebooks."""
    package = Path(__file__).parent
    packed = package / "shipped"
    return packed if packed.is_dir() else package.parent


def shipped_settings() -> dict[str, Path]:
    """Shipped settings files by name: `med` is `params_med.yaml`, `live` is `live.yaml`."""
    files = sorted((shipped_root() / PARAMS_FOLDER).glob("*.yaml"))
    return {file.stem.removeprefix("params_"): file for file in files}


def find_settings(path: str | Path) -> Path:
    """Resolve the name of shipped settings, such as `med`; anything else is a path and stays as it is.

    A file of that name in the working folder comes first.
    """
    shipped = shipped_settings().get(str(path))
    return Path(path) if shipped is None or Path(path).exists() else shipped


def write_workspace(folder: str | Path) -> list[Path]:
    """Copy the notebooks, `params/` and the tiny dataset into a folder, to work in without a clone.

    Args:
        folder: Made if missing. What else lies in it stays untouched.

    Returns:
        The files written.

    Raises:
        UserError: One of the files exists already (then nothing is written), or the folder is a file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, expected a folder, new or old. Give another name.")
    data = sorted(path for path in (shipped_root() / DATA_FOLDER).rglob("*") if path.is_file())
    sources = [*(shipped_root() / name for name in NOTEBOOKS), *shipped_settings().values(), *data]
    targets = [folder / source.relative_to(shipped_root()) for source in sources]
    if there := [target for target in targets if target.exists() or target.is_symlink()]:
        raise UserError(f"{there[0]} is already there, and nothing is overwritten. Give another folder, or move it.")
    for source, target in zip(sources, targets, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return targets
