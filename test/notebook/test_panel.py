"""The panel of sliders, moved from Python."""

import warnings

import pytest

from dacformer.errors import UserError
from dacformer.generation.controls import Controls
from dacformer.generation.synthesizer import Synthesizer
from dacformer.notebook import (
    ControlPanel,
    control_panel,
)


@pytest.fixture
def panel(synth: Synthesizer) -> ControlPanel:
    return control_panel(synth, seconds=0.5)


def test_panel_starts_with_a_take_that_is_not_played(panel: ControlPanel) -> None:
    assert panel.take is not None
    assert "<audio" in panel.result.value and "<img" in panel.result.value
    assert "autoplay" not in panel.result.value  # opening a notebook makes no noise
    assert panel.message.value == ""


def test_moving_a_slider_generates_and_plays_a_take(panel: ControlPanel) -> None:
    before = panel.take
    panel.parameters["rate"].value = 4.0
    assert panel.take is not before and panel.take is not None
    assert panel.take.controls == Controls({"pistons": 1.0}, {"rate": 4.0})
    assert "autoplay" in panel.result.value


@pytest.mark.parametrize("name, value", [("guidance", 3.0), ("temperature", 0.5), ("top_p", 0.8)])
def test_sampling_sliders_reach_the_recipe(panel: ControlPanel, name: str, value: float) -> None:
    panel.sampling[name].value = value
    assert panel.take is not None and getattr(panel.take.recipe.sampling.still, name) == value


def test_untouched_sampling_sliders_keep_the_settings_of_the_run(synth: Synthesizer) -> None:
    synth.sampling = synth.sampling.model_copy(update={"temperature": (0.9, 1.1)})
    take = control_panel(synth, seconds=0.2).take
    assert take is not None and take.recipe.sampling.still.temperature == (0.9, 1.1)


def test_seconds_and_seed_reach_the_take(panel: ControlPanel) -> None:
    panel.seconds.value = 1.0
    assert panel.take is not None and panel.take.codes.shape[1] == 62
    panel._another.click()
    assert panel.take.recipe.seed == panel.seed.value == 1


def test_unset_parameter_is_left_out_of_the_controls(panel: ControlPanel) -> None:
    panel.unknown["rate"].value = True
    assert panel.controls == {"class": "pistons"}
    assert panel.parameters["rate"].disabled


def test_only_parameters_of_the_chosen_classes_are_shown_and_sent(panel: ControlPanel) -> None:
    assert (panel._rows["rate"].layout.display, panel._rows["force"].layout.display) == ("", "none")
    panel.start.value = "wind"
    assert (panel._rows["rate"].layout.display, panel._rows["force"].layout.display) == ("none", "")
    assert panel.controls == {"class": "wind", "force": 0.5}
    panel.start.value = ""  # any class: everything may be said
    assert set(panel.controls) == {"rate", "force"}


def test_blend_gives_weights_that_add_up_and_parameters_of_both_classes(panel: ControlPanel) -> None:
    assert panel.blend.disabled
    panel.goal.value = "wind"
    panel.blend.value = 0.25
    assert panel.controls == {"rate": 2.5, "force": 0.5, "class": {"pistons": 0.75, "wind": 0.25}}
    assert not panel.blend.disabled


def test_user_error_is_shown_escaped_and_the_next_take_works(
    panel: ControlPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise UserError("expected <something> else")

    with monkeypatch.context() as patch:
        patch.setattr(panel.synth, "generate", fail)
        panel._play.click()
    assert "expected &lt;something&gt; else" in panel.message.value
    assert panel.take is None and panel.result.value == "" and not panel._play.disabled
    panel._play.click()
    assert panel.take is not None and panel.message.value == ""


def test_other_error_is_shown_and_raised(panel: ControlPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(panel.synth, "generate", fail)
    with pytest.raises(ZeroDivisionError):
        panel.generate()
    assert "ZeroDivisionError: oh" in panel.message.value


def test_warning_is_shown_beside_the_sound(panel: ControlPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    generate = panel.synth.generate

    def grumble(*args: object, **more: object) -> object:
        warnings.warn("expect surprises", stacklevel=1)
        return generate(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(panel.synth, "generate", grumble)
    panel.generate()
    assert "expect surprises" in panel.message.value and "<audio" in panel.result.value
