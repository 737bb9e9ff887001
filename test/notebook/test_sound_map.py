"""The map of sounds: a place, a colour and a sound for each file."""

import re
from pathlib import Path

import numpy as np
import pytest

from dacformer.codec import Codec
from dacformer.data.dataset import Dataset
from dacformer.errors import UserError
from dacformer.notebook import sound_map


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_every_sound_has_a_place_and_plays(dataset: Dataset, codec: Codec, tmp_path: Path, method: str) -> None:
    map_ = sound_map(dataset, codec, method)  # type: ignore[arg-type]
    page = map_.save(tmp_path / "map.html").read_text()
    assert len(re.findall(r'<circle [^>]*data-sound="[\w+/=]{500,}"', page)) == 5
    assert set(map_.colors) == {"pistons", "wind"} and "pistons, rate 0.5, clip0.dac" in page
    assert "http" not in page  # nothing is fetched
    figure = map_.plot()
    assert sum(len(np.asarray(dots.get_offsets())) for dots in figure.axes[0].collections) == 5
    assert map_._repr_html_().startswith("<iframe srcdoc=")
    assert sound_map(dataset.path, codec, method).rows.equals(map_.rows)  # type: ignore[arg-type]


def test_too_few_sounds_or_another_method_are_refused(dataset: Dataset, codec: Codec) -> None:
    with pytest.raises(UserError, match="three sounds"):
        sound_map(dataset, codec, max_sounds=2)
    with pytest.raises(UserError, match="'umap'"):
        sound_map(dataset, codec, "umap")  # type: ignore[arg-type]
