"""An instrument that has learned nothing: enough where only the way of the frames matters, and there in no time."""

import pytest
import torch

from dacformer.checkpoint import Checkpoint, CheckpointMetadata
from dacformer.codec import Codec
from dacformer.conditions.labels import Conditions, ParameterRange
from dacformer.config import Config, ModelConfig
from dacformer.data.dataset import DatasetInfo
from dacformer.generation.synthesizer import Synthesizer


@pytest.fixture(scope="session")
def untrained(codec: Codec) -> Synthesizer:
    """Looks 30 frames back; its random weights listen to the controls."""
    info = DatasetInfo(
        codec=codec.identity,
        codec_name="small",
        sample_rate=codec.sample_rate,
        hop_length=codec.hop_length,
        num_codebooks=codec.num_codebooks,
        codebook_size=codec.codebook_size,
        level_offset_db={"pistons": -3.0, "wind": 6.0},
    )
    ranges = {"rate": ParameterRange(low=0.0, high=1.0), "strength": ParameterRange(low=0.0, high=1.0)}
    conditions = Conditions(classes=("pistons", "wind"), parameters=ranges)
    sizes = ModelConfig(dim=32, num_layers=2, num_heads=2, window_frames=16, mlp_ratio=2, film_dim=16)
    metadata = CheckpointMetadata(step=0, config=Config(model=sizes), info=info, conditions=conditions)
    model = metadata.build_model()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=generator)
    return Synthesizer(Checkpoint(metadata, model, "untrained/0"), codec)
