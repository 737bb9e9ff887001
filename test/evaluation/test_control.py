"""What a texture's parameter and class are measured as."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from dacformer.errors import UserError
from dacformer.evaluation.control import measure_control, write_control_report
from dacformer.evaluation.descriptors import TEXTURE_DESCRIPTORS
from dacformer.generation.synthesizer import Synthesizer


@pytest.mark.slow
def test_every_value_is_measured_and_real_textures_follow_their_parameter(synth: Synthesizer, tmp_path: Path) -> None:
    result = measure_control(synth, ["wind"], num_values=3, num_seeds=1, seconds=1.0)
    for source in ("generated", "real"):
        own = result.clips[result.clips["source"] == source]
        assert own["asked"].tolist() == [0.0, 0.5, 1.0] and own["seed"].tolist() == [0, 0, 0]
        suffix = "" if source == "generated" else "_real"
        row = result.summary.loc["wind"]
        assert row[f"spearman{suffix}"] == pytest.approx(spearmanr(own["asked"], own["measured"]).statistic)
        assert row[f"pearson{suffix}"] == pytest.approx(np.corrcoef(own["asked"], own["measured"])[0, 1])
        assert row[f"slope{suffix}"] == pytest.approx(np.polyfit(own["asked"], own["measured"], 1)[0])
        assert row[f"class_accuracy{suffix}"] == np.mean(own["predicted_class"] == "wind")
    assert result.summary.loc["wind", "spearman_real"] > 0.9 and result.summary.loc["wind", "class_accuracy_real"] == 1
    takes = synth.generate_batch(1.0, [{"class": "wind", "strength": value} for value in (0.0, 0.5, 1.0)])
    generated = result.clips[result.clips["source"] == "generated"]["measured"]
    assert generated.tolist() == pytest.approx([TEXTURE_DESCRIPTORS["wind"](take.audio, 44100) for take in takes])
    paths = write_control_report(result, tmp_path)
    assert [path.name for path in paths] == ["control.csv", "control.json", "control.png"]
    assert pd.read_csv(paths[0])["predicted_class"].tolist() == result.clips["predicted_class"].tolist()


def test_a_class_that_is_no_texture_is_refused(synth: Synthesizer) -> None:
    with pytest.raises(UserError, match=r"'violin' is no texture.* It knows: pistons, wind\.$"):
        measure_control(synth, ["violin"])
