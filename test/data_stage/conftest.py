"""Sounds, a codec that is quick, and datasets made by hand."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from dacformer import audio as sound
from dacformer.codec import Codec, DacFile, write_dac
from dacformer.codec.weight_files import CodecConfig, build_model

V = 64


@pytest.fixture(scope="session")
def tiny() -> Codec:
    """A codec of hop 512, K = 2, V = 64, with random weights."""
    torch.manual_seed(0)
    sizes = CodecConfig(encoder_dim=2, decoder_dim=16, n_codebooks=2, codebook_size=V, codebook_dim=4)
    return Codec(build_model(sizes).eval(), "tiny-0123")


@pytest.fixture
def write_sounds(tmp_path: Path) -> Callable[..., Path]:
    """Writes short sounds, no two alike: `write_sounds("rain/a.wav", "b.flac", seconds=0.1) -> folder`."""

    def write(*names: str, seconds: float = 0.1, folder: str = "sounds") -> Path:
        for name in names:
            rng = np.random.default_rng(list(name.encode()))
            sound.write_audio(tmp_path / folder / name, 0.1 * rng.standard_normal(round(seconds * 44100)), 44100)
        return tmp_path / folder

    return write


@pytest.fixture
def write_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Writes a dataset of random codes: `write_dataset([{"file": ..., "class": ..., "split": ...}], frames={...})`."""

    def write(rows: list[Mapping[str, Any]], frames: Mapping[str, int] | None = None, **info: Any) -> Path:
        path = tmp_path / "set"
        path.mkdir(exist_ok=True)
        good = {"codec": "tiny-0123", "codec_name": "tiny", "sample_rate": 44100, "hop_length": 512}
        (path / "dataset.yaml").write_text(yaml.safe_dump(good | {"num_codebooks": 2, "codebook_size": V} | info))
        names = list(dict.fromkeys(name for row in rows for name in row))
        lines = [",".join(names), *(",".join(str(row.get(name, "")) for name in names) for row in rows)]
        (path / "manifest.csv").write_text("\n".join(lines))
        for i, row in enumerate(rows):
            length = (frames or {}).get(row["file"], 40)
            codes = np.random.default_rng(i).integers(0, V, (1, 2, length))
            write_dac(path / row["file"], DacFile(codes, 44100, 512 * length, -20.0, length))
        return path

    return write
