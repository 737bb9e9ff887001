"""The widgets, driven from Python: what moves when something is moved."""

import base64
import io
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dacformer.codec import Codec
from dacformer.conditions.labels import Conditions
from dacformer.config import Config, load_config, save_config
from dacformer.data.dataset import Dataset
from dacformer.display.html import audio_html
from dacformer.errors import UserError
from dacformer.generation.controls import Curve
from dacformer.generation.synthesizer import Synthesizer
from dacformer.notebook import (
    AudioGrid,
    ControlPanel,
    LivePlot,
    LiveSamples,
    conditions_table,
    control_panel,
    ensure_run,
    morph,
    one_take_per_class,
    reference_clips,
    settings_table,
    sweep,
    sweep_curve,
)
from dacformer.notebook.widgets import choose_control
from dacformer.training.trainer import train


@pytest.fixture
def panel(synth: Synthesizer) -> ControlPanel:
    return control_panel(synth, seconds=0.5)


def test_the_panel_starts_with_a_take(panel: ControlPanel) -> None:
    assert panel.take is not None
    assert "<audio" in panel.result.value and "<img" in panel.result.value
    assert "autoplay" not in panel.result.value  # opening a notebook makes no noise
    assert panel.message.value == ""


def test_moving_a_slider_makes_another_take(panel: ControlPanel) -> None:
    before = panel.take
    panel.parameters["rate"].value = 4.0
    assert panel.take is not before and panel.take is not None
    assert panel.take.recipe["controls"] == {"rate": 4.0, "class": "pistons"}
    assert "autoplay" in panel.result.value


@pytest.mark.parametrize("name, value", [("guidance", 3.0), ("temperature", 0.5), ("top_p", 0.8)])
def test_sampling_sliders_are_sent(panel: ControlPanel, name: str, value: float) -> None:
    panel.sampling[name].value = value
    assert panel.take is not None and panel.take.recipe["sampling"][name] == value


def test_sampling_that_is_not_moved_stays_as_the_run_has_it(synth: Synthesizer) -> None:
    synth.sampling = synth.sampling.model_copy(update={"temperature": (0.9, 1.1)})
    take = control_panel(synth, seconds=0.2).take
    assert take is not None and take.recipe["sampling"]["temperature"] == [0.9, 1.1]


def test_seconds_and_seed_are_sent(panel: ControlPanel) -> None:
    panel.seconds.value = 1.0
    assert panel.take is not None and panel.take.codes.shape[1] == 62
    panel._another.click()
    assert panel.take.recipe["seed"] == panel.seed.value == 1


def test_an_open_parameter_is_unknown_to_the_model(panel: ControlPanel) -> None:
    panel.unknown["rate"].value = True
    assert panel.controls == {"class": "pistons"}
    assert panel.parameters["rate"].disabled


def test_only_parameters_of_the_chosen_classes_are_in_sight_and_sent(panel: ControlPanel) -> None:
    assert (panel._rows["rate"].layout.display, panel._rows["force"].layout.display) == ("", "none")
    panel.start.value = "wind"
    assert (panel._rows["rate"].layout.display, panel._rows["force"].layout.display) == ("none", "")
    assert panel.controls == {"class": "wind", "force": 0.5}
    panel.start.value = ""  # any class: everything may be said
    assert set(panel.controls) == {"rate", "force"}


def test_a_morph_has_weights_that_add_up_and_the_parameters_of_both(panel: ControlPanel) -> None:
    assert panel.blend.disabled
    panel.goal.value = "wind"
    panel.blend.value = 0.25
    assert panel.controls == {"rate": 2.5, "force": 0.5, "class": {"pistons": 0.75, "wind": 0.25}}
    assert not panel.blend.disabled


def test_a_mistake_is_shown_and_the_panel_goes_on(panel: ControlPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise UserError("expected <something> else")

    with monkeypatch.context() as patch:
        patch.setattr(panel.synth, "generate", fail)
        panel._play.click()
    assert "expected &lt;something&gt; else" in panel.message.value
    assert panel.take is None and panel.result.value == "" and not panel._play.disabled
    panel._play.click()
    assert panel.take is not None and panel.message.value == ""


def test_a_defect_is_shown_and_not_swallowed(panel: ControlPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(panel.synth, "generate", fail)
    with pytest.raises(ZeroDivisionError):
        panel.generate()
    assert "ZeroDivisionError: oh" in panel.message.value


def test_a_warning_is_shown_beside_the_sound(panel: ControlPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    generate = panel.synth.generate

    def grumble(*args: object, **more: object) -> object:
        warnings.warn("expect surprises", stacklevel=1)
        return generate(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(panel.synth, "generate", grumble)
    panel.generate()
    assert "expect surprises" in panel.message.value and "<audio" in panel.result.value


def test_a_model_without_parameters_can_be_steered_and_swept(synth: Synthesizer) -> None:
    synth.conditions = Conditions(classes=("creek",))
    synth.model = synth.checkpoint.metadata.model_copy(update={"conditions": synth.conditions}).build_model().eval()
    assert control_panel(synth, seconds=0.2).controls == {"class": "creek"}
    assert list(sweep(synth, seconds=0.2).sounds) == ["creek"]
    assert synth.generate(0.2, sweep_curve(synth, 0.2)).curves.weights.keys() == {"creek"}
    assert morph(synth, seconds=0.2).curves.weights.keys() == {"creek"}


def test_a_sweep_has_a_column_per_value_and_a_row_per_seed(synth: Synthesizer) -> None:
    sheet = sweep(synth, "wind", "force", values=[0.1, 0.5, 0.9], seeds=(1, 2), seconds=0.2)
    assert list(sheet.sounds) == [f"wind, force {value}, seed {seed}" for seed in (1, 2) for value in (0.1, 0.5, 0.9)]
    assert sheet.columns == 3
    assert sheet._repr_html_().count("<audio") == sheet._repr_html_().count("<img") == 6


def test_a_sweep_chooses_what_is_left_open(synth: Synthesizer) -> None:
    assert [title.split(",")[0] for title in sweep(synth, seconds=0.1).sounds] == ["pistons"] * 5
    assert "force 0.1" in next(iter(sweep(synth, "wind", seconds=0.1).sounds))
    with pytest.raises(UserError, match="No parameter 'rate' of wind"):
        choose_control(synth.conditions, "wind", "rate")


def test_a_trajectory_goes_there_and_back(synth: Synthesizer) -> None:
    controls = sweep_curve(synth, 4.0, "wind")
    assert controls["class"] == "wind" and isinstance(controls["force"], Curve)
    assert [controls["force"](seconds) for seconds in (0, 2, 4)] == [0.1, 0.9, 0.1]


def test_a_morph_crosses_weights(synth: Synthesizer) -> None:
    curves = morph(synth, "wind", "pistons", seconds=0.5).curves.weights
    np.testing.assert_allclose(curves["wind"] + curves["pistons"], 1.0)
    assert curves["wind"][0] == 1.0 and curves["pistons"][-1] > 0.9


def test_one_of_each_class(synth: Synthesizer) -> None:
    assert list(one_take_per_class(synth, 0.1).sounds) == ["pistons", "wind"]


def test_real_clips_of_each_class_are_decoded_but_only_as_far_as_heard(dataset: Dataset, codec: Codec) -> None:
    sheet = reference_clips(dataset, codec, n=2, seconds=0.25)
    assert list(sheet.sounds) == [
        "pistons 1, rate 0.5",
        "pistons 3, rate 2.5",
        "wind 1, force 0.1",
        "wind 2, force 0.9",
    ]
    assert {len(audio) for audio in sheet.sounds.values()} == {2048}


def test_clips_of_another_codec_are_refused(dataset: Dataset, codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "identity", "other-1")
    with pytest.raises(UserError, match="it would play noise"):
        reference_clips(dataset, codec)


def test_a_player_holds_the_sound_itself() -> None:
    audio = np.linspace(-2.0, 2.0, 8000, dtype=np.float32)  # too loud: clipped, not wrapped
    found = re.search(r"base64,([^\"]+)", audio_html(audio, 8000))
    assert found
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(found[1])))
    assert rate == 8000
    np.testing.assert_allclose(heard, np.clip(audio, -1, 1), atol=1e-4)


def test_training_is_seen_and_heard_while_it_goes_on(config: Config, codec: Codec) -> None:
    plot, samples = LivePlot(config, every_seconds=0.0), LiveSamples(codec)
    run = train(config, on_metrics=plot, on_sample=samples)
    assert plot.figure is not None
    assert re.match(r"step 4 of 4 · [\d,]+ frames/s · done", plot.figure.axes[0].get_title(loc="left"))
    assert list(samples.latest) == ["pistons", "wind"]
    assert (run / "samples" / "step_0000004" / "wind.wav").is_file()


def test_a_live_plot_draws_seldom_but_every_validation(config: Config) -> None:
    plot = LivePlot(config, every_seconds=1000.0)
    plot({"step": 1, "loss": 5.0, "frames_per_second": 32.0})
    first = plot.figure
    plot({"step": 2, "loss": 4.0, "frames_per_second": 32.0})
    assert plot.figure is first is not None
    plot({"step": 2, "val_nll": 4.0, "unigram_nll": 5.0})
    assert plot.figure is not first
    assert plot.figure.axes[0].get_title(loc="left") == "step 2 of 4 · 32 frames/s · 0:04 left"


def test_a_live_plot_of_a_resumed_run_shows_its_past(config: Config) -> None:
    train(config)
    longer = config.model_copy(update={"training": config.training.model_copy(update={"steps": 6})})
    plot = LivePlot(longer)
    train(longer, resume=True, on_metrics=plot)
    assert plot.figure is not None
    assert list(plot.figure.axes[0].lines[0].get_xdata()) == [1, 2, 3, 4, 5, 6]


def test_a_missing_run_is_trained_once(config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_config(config, tmp_path / "params.yaml")
    with pytest.raises(UserError, match="misspelt"):
        ensure_run(tmp_path / "mien", tmp_path / "params.yaml")
    mine = tmp_path / "mine"
    quick = ["training.steps=2", "training.sample_every=0", "training.select_best_by=nll"]  # there is no codec "tiny"
    run = ensure_run(mine, tmp_path / "params.yaml", [*quick, f"run={mine}"])
    assert "There is no run" in capsys.readouterr().out
    assert load_config(run / "config.yaml").training.steps == 2
    assert ensure_run(run, tmp_path / "no_such.yaml") == run
    checkpoint = run / "checkpoints" / "step_0000002"
    assert ensure_run(checkpoint, tmp_path / "no_such.yaml") == checkpoint


def test_tables_tell_settings_and_conditions(config: Config, dataset: Dataset) -> None:
    settings = settings_table(config).data.set_index("setting")  # type: ignore[attr-defined]
    assert settings.loc["training.steps", "value"] == "4"
    assert "Peak rate" in settings.loc["training.learning_rate", "meaning"]
    assert not (settings == "").any(axis=None), "no blanks"
    rows = conditions_table(dataset.conditions).data.to_numpy().tolist()  # type: ignore[attr-defined]
    assert rows == [["pistons", "rate", "0.5", "4.5"], ["wind", "force", "0.1", "0.9"]]


def test_a_sheet_may_be_of_any_sounds() -> None:
    page = AudioGrid({"a": np.zeros(10, np.float32)}, 8000, columns=3)._repr_html_()
    assert "repeat(1," in page and "<audio" in page
