"""Sounds to compare: sweeps, morphs, one per class, recordings."""

import numpy as np
import pytest

from dacformer.codec import Codec
from dacformer.conditions.labels import Conditions
from dacformer.data.dataset import Dataset
from dacformer.errors import UserError
from dacformer.generation.curves import Curve
from dacformer.generation.synthesizer import Synthesizer
from dacformer.notebook import (
    control_panel,
    morph,
    one_take_per_class,
    reference_clips,
    sweep,
    sweep_curve,
)
from dacformer.notebook.listening import choose_control


def test_model_without_parameters_has_a_panel_sweep_and_morph(synth: Synthesizer) -> None:
    synth.conditions = Conditions(classes=("creek",))
    synth.model = synth.checkpoint.metadata.model_copy(update={"conditions": synth.conditions}).build_model().eval()
    assert control_panel(synth, seconds=0.2).controls == {"class": "creek"}
    assert list(sweep(synth, seconds=0.2).sounds) == ["creek"]
    assert synth.generate(0.2, sweep_curve(synth, 0.2)).curves.classes.keys() == {"creek"}
    assert morph(synth, seconds=0.2).curves.classes.keys() == {"creek"}


def test_sweep_has_a_column_per_value_and_a_row_per_seed(synth: Synthesizer) -> None:
    sheet = sweep(synth, "wind", "force", values=[0.1, 0.5, 0.9], seeds=(1, 2), seconds=0.2)
    assert list(sheet.sounds) == [f"wind, force {value}, seed {seed}" for seed in (1, 2) for value in (0.1, 0.5, 0.9)]
    assert sheet.columns == 3
    assert sheet._repr_html_().count("<audio") == sheet._repr_html_().count("<img") == 6


def test_sweep_chooses_class_and_parameter_where_not_given(synth: Synthesizer) -> None:
    assert [title.split(",")[0] for title in sweep(synth, seconds=0.1).sounds] == ["pistons"] * 5
    assert "force 0.1" in next(iter(sweep(synth, "wind", seconds=0.1).sounds))
    with pytest.raises(UserError, match="No parameter 'rate' of wind"):
        choose_control(synth.conditions, "wind", "rate")


def test_sweep_curve_goes_from_low_to_high_and_back(synth: Synthesizer) -> None:
    controls = sweep_curve(synth, 4.0, "wind")
    assert controls["class"] == "wind" and isinstance(controls["force"], Curve)
    assert [controls["force"](seconds) for seconds in (0, 2, 4)] == [0.1, 0.9, 0.1]


def test_morph_crosses_the_weights_of_two_classes(synth: Synthesizer) -> None:
    curves = morph(synth, "wind", "pistons", seconds=0.5).curves.classes
    np.testing.assert_allclose(curves["wind"] + curves["pistons"], 1.0)
    assert curves["wind"][0] == 1.0 and curves["pistons"][-1] > 0.9


def test_one_take_per_class_has_each_class(synth: Synthesizer) -> None:
    assert list(one_take_per_class(synth, 0.1).sounds) == ["pistons", "wind"]


def test_reference_clips_decode_only_the_seconds_asked_for(dataset: Dataset, codec: Codec) -> None:
    sheet = reference_clips(dataset, codec, n=2, seconds=0.25)
    assert list(sheet.sounds) == [
        "pistons 1, rate 0.5",
        "pistons 3, rate 2.5",
        "wind 1, force 0.1",
        "wind 2, force 0.9",
    ]
    assert {len(audio) for audio in sheet.sounds.values()} == {2048}


def test_reference_clips_refuse_another_codec(dataset: Dataset, codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "identity", "other-1")
    with pytest.raises(UserError, match="it would play noise"):
        reference_clips(dataset, codec)
