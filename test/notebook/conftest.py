"""A data set, a codec and a model that are tiny and know nothing: enough to see that everything is connected."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dacformer.checkpoint import Checkpoint, CheckpointMetadata
from dacformer.codec import Codec, DacFile, write_dac
from dacformer.codec.weight_files import CodecConfig, build_model
from dacformer.config import Config, DataConfig, ModelConfig, TrainingConfig, save_config
from dacformer.data.dataset import Dataset, DatasetInfo, load_dataset
from dacformer.generation.synthesizer import Synthesizer

K, V, HOP, RATE = 2, 16, 128, 8000
ROWS = """file,class,split,rate,force
{0},pistons,train,0.5,
{1},pistons,train,4.5,
{2},pistons,val,2.5,
{3},wind,train,,0.1
{4},wind,train,,0.9
"""


@pytest.fixture(scope="session")
def codec() -> Codec:
    torch.manual_seed(0)
    sizes = {"encoder_dim": 4, "encoder_rates": (8, 16), "decoder_dim": 16, "decoder_rates": (16, 8)}
    config = CodecConfig(**sizes, n_codebooks=K, codebook_size=V, sample_rate=RATE)
    return Codec(build_model(config), "tiny-0")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    rng = np.random.default_rng(0)
    files = [f"clip{i}.dac" for i in range(5)]
    for file in files:
        codes = rng.integers(0, V, (1, K, 500))
        write_dac(tmp_path / file, DacFile(codes, RATE, 500 * HOP, -20.0, 500))
    (tmp_path / "manifest.csv").write_text(ROWS.format(*files))
    info = DatasetInfo(
        codec="tiny-0", codec_name="tiny", sample_rate=RATE, hop_length=HOP, num_codebooks=K, codebook_size=V
    )
    save_config(info, tmp_path / "dataset.yaml")
    return load_dataset(tmp_path)


@pytest.fixture
def config(dataset: Dataset, tmp_path: Path) -> Config:
    return Config(
        run=tmp_path / "run",
        data=DataConfig(path=dataset.path, segment_frames=32, batch_size=2),
        model=ModelConfig(dim=16, num_layers=1, num_heads=2, window_frames=8, film_dim=8),
        training=TrainingConfig(steps=4, validate_every=2, validation_batches=1, sample_every=2, sample_seconds=0.1),
    )


@pytest.fixture
def synth(dataset: Dataset, config: Config, codec: Codec) -> Synthesizer:
    metadata = CheckpointMetadata(step=0, config=config, info=dataset.info, conditions=dataset.conditions)
    return Synthesizer(Checkpoint(metadata, metadata.build_model(), "tiny/0"), codec)
