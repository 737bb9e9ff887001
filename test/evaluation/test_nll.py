"""NLL of held-out and generated codes, held to the model itself."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dacformer.data.dataset import load_dataset
from dacformer.errors import UserError
from dacformer.evaluation.nll import measure_nll
from dacformer.generation.synthesizer import Synthesizer


def test_held_out_nll_is_the_models_and_own_takes_surprise_it_less(synth: Synthesizer, dataset_path: Path) -> None:
    dataset = load_dataset(dataset_path)
    result = measure_nll(synth, dataset, seconds=1.0, temperature=0.5)
    assert list(result.summary.index) == [f"codebook {k}" for k in (1, 2, 3, 4)]
    expected = []
    for _, row in dataset.split("val").iterrows():
        codes = torch.from_numpy(dataset.codes(row["file"])[:, :86].astype(np.int64))[None]
        with torch.no_grad():
            logits = synth.model(codes, torch.from_numpy(dataset.condition(row)).float()[None])
        expected.append(torch.nn.functional.cross_entropy(logits[0].movedim(-1, 1), codes[0], reduction="none"))
    np.testing.assert_allclose(result.summary["held_out"], torch.stack(expected).mean(dim=(0, 2)), rtol=1e-4)
    np.testing.assert_allclose(result.over_time["held_out"], torch.stack(expected).mean(dim=(0, 1)), rtol=1e-3)
    assert (result.summary["own"] < result.summary["held_out"]).all()  # at a low temperature, it plays what it expects


def test_clips_that_are_too_short_are_refused(synth: Synthesizer, dataset_path: Path) -> None:
    with pytest.raises(UserError, match="holds no clip of 60 s or more out"):
        measure_nll(synth, load_dataset(dataset_path), seconds=60.0)
