"""The instrument: the fast sampler is the slow one, a stream is a take, and what is given is checked."""

import dataclasses
import gc
import json
import re
import shutil
from collections.abc import Callable
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from dacformer.audio import loudness_db, read_audio, read_comment, write_audio
from dacformer.checkpoint import find_checkpoint, load_checkpoint
from dacformer.codec import Codec, DacFile, read_dac, write_dac
from dacformer.config import Config, SamplingConfig
from dacformer.errors import UserError
from dacformer.generation.controls import Controls
from dacformer.generation.curves import Curve
from dacformer.generation.instrument import COMPILED_STREAMS
from dacformer.generation.recipe import parse_recipe
from dacformer.generation.synthesizer import Synthesizer, load
from dacformer.live.performance import Performance
from dacformer.training.trainer import train

from .oracle import generate_slowly

Configure = Callable[..., Config]

MOVING = {"class": {"wind": Curve([(0, 1), (0.3, 0)]), "pistons": Curve([(0, 0), (0.3, 1)])}, "rate": 0.5}
LONG = 0.5  # seconds: 43 frames, almost three windows


def oracle(synth: Synthesizer, controls: list[dict], frames: int, seed: int, **sampling: Any) -> np.ndarray:
    times = np.arange(frames) / synth.info.frame_rate
    conditions = np.stack([Controls.of(each).condition_at(times, synth.conditions) for each in controls])
    asked = SamplingConfig.model_validate(synth.sampling.model_dump() | sampling)
    return generate_slowly(synth.model, torch.from_numpy(conditions), asked, seed).numpy()


@pytest.mark.parametrize(
    "sampling", [{}, {"guidance": 1.0}, {"temperature": 0.0}, {"temperature": (1, 0.5, 0, 2), "top_k": 9}]
)
def test_generated_is_what_a_plain_loop_draws(
    synth: Synthesizer, sampling: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dacformer.generation.render.DECODED_FRAMES", 4)
    take = synth.generate(LONG, MOVING, seed=3, precision="float32", **sampling)
    assert take.codes.shape == (4, 43)
    np.testing.assert_array_equal(take.codes, oracle(synth, [MOVING], 43, 3, **sampling)[0])


def test_a_parallel_head_is_what_a_plain_loop_draws(configure: Configure, tmp_path: Path) -> None:
    synth = load(train(configure(tmp_path / "run", model={"head": "parallel"}, steps=10, validate_every=10)))
    take = synth.generate(LONG, {"class": "wind"}, seed=1, precision="float32")
    np.testing.assert_array_equal(take.codes, oracle(synth, [{"class": "wind"}], 43, 1)[0])


def test_takes_side_by_side_are_what_a_plain_loop_draws(synth: Synthesizer) -> None:
    controls = [{"class": "wind"}, {"class": "pistons", "rate": 1.0}, {}]
    takes = synth.generate_batch(0.3, controls, seed=2, precision="float32")
    assert [take.codes.shape for take in takes] == [(4, 26)] * 3
    assert [take.audio.shape for take in takes] == [(26 * 512,)] * 3
    np.testing.assert_array_equal(np.stack([take.codes for take in takes]), oracle(synth, controls, 26, 2))
    assert [take.recipe.take for take in takes] == [0, 1, 2]


def test_many_takes_side_by_side_are_what_a_plain_loop_draws(synth: Synthesizer) -> None:
    controls = [{"class": "wind", "strength": i / COMPILED_STREAMS} for i in range(COMPILED_STREAMS)]
    takes = synth.generate_batch(0.1, controls, seed=2)  # with guidance twice as many: torch steps them
    np.testing.assert_array_equal(np.stack([take.codes for take in takes]), oracle(synth, controls, 9, 2))


def test_sampling_may_move(synth: Synthesizer) -> None:
    """From a moment on, other settings: until then the codes are those of the settings before."""
    moving: dict[str, Any] = {
        "temperature": Curve([(0, 1.0), (0.2, 0.0)], step=True),
        "guidance": Curve([(0, 2.0), (0.2, 1.0)], step=True),
    }
    take = synth.generate(LONG, MOVING, seed=3, **moving)
    before = synth.generate(LONG, MOVING, seed=3, temperature=1.0, guidance=2.0)
    same = (take.codes == before.codes).all(axis=0)
    assert same[:18].all() and not same[18:].all()
    assert take.recipe.sampling.moving["guidance"].points == [(0.0, 2.0), (0.2, 1.0)]
    again = synth.generate(LONG, MOVING, seed=3, **take.recipe.sampling.changes())
    np.testing.assert_array_equal(again.codes, take.codes)
    still = synth.generate(0.1, MOVING, seed=3, temperature=Curve([(0, 0.5)]), guidance=Curve([(0, 2.0)]))
    np.testing.assert_array_equal(still.codes, synth.generate(0.1, MOVING, seed=3, temperature=0.5, guidance=2.0).codes)


def test_the_same_seed_gives_the_same_audio_and_another_another(synth: Synthesizer) -> None:
    one, same, other = (synth.generate(0.3, MOVING, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.audio, same.audio)
    np.testing.assert_array_equal(one.codes, same.codes)
    assert not np.array_equal(one.codes, other.codes) and not np.array_equal(one.audio, other.audio)


def test_guidance_one_uses_half_the_batch(synth: Synthesizer) -> None:
    sizes: list[int] = []
    hook = synth.model.embed_condition.register_forward_hook(lambda _m, _i, out: sizes.append(len(out)))
    try:
        synth.generate_batch(0.03, [{}, {}, {}], guidance=1.0)
        synth.generate_batch(0.03, [{}, {}, {}], guidance=1.5)
    finally:
        hook.remove()
    assert sizes == [3, 6]  # once each: the condition does not move


def test_controls_are_heard(synth: Synthesizer) -> None:
    """Guidance amplifies what little of the classes is learned in 80 steps."""
    one, other = (synth.generate(1.0, {"class": name}, seed=1, guidance=20.0) for name in ("wind", "pistons"))
    assert not np.array_equal(one.codes, other.codes)


def test_the_audio_is_the_decoded_codes_at_the_level_of_the_class(synth: Synthesizer, codec: Codec) -> None:
    take = synth.generate(0.5, {"class": "wind"}, seed=0)
    gain = 10 ** (-synth.info.level_offset_db["wind"] / 20)
    decoded = codec.decode(torch.from_numpy(take.codes)[None])[0, 0].numpy()
    np.testing.assert_allclose(take.audio, np.clip(gain * decoded, -1, 1), atol=1e-4)
    assert take.seconds == pytest.approx(43 * 512 / 44100)
    gains = synth.info.level_offset_db
    morph = synth.generate(0.1, {"class": {"wind": 1.0, "pistons": 3.0}})
    blended = 10 ** (-(gains["wind"] + 3 * gains["pistons"]) / 4 / 20)
    decoded = codec.decode(torch.from_numpy(morph.codes)[None])[0, 0].numpy()
    np.testing.assert_allclose(morph.audio, np.clip(blended * decoded, -1, 1), atol=1e-4)


def test_a_stream_is_the_take_of_the_same_seed(synth: Synthesizer, codec: Codec) -> None:
    controls = {"class": "wind", "strength": 0.7}
    pieces = list(islice(synth.stream(controls, chunk_seconds=0.1, seed=5), 8))
    assert [len(piece) for piece in pieces[2:]] == [9 * 512] * 6
    streamed = np.concatenate(pieces)
    take = synth.generate(72 / synth.info.frame_rate, controls, seed=5)
    decoded = codec.decode(torch.from_numpy(take.codes)[None])[0, 0].numpy()
    delay = codec.delay_frames * 512
    assert len(decoded) - delay <= len(streamed) < len(decoded)
    gain = 10 ** (-synth.info.level_offset_db["wind"] / 20)
    np.testing.assert_allclose(streamed, gain * decoded[: len(streamed)], atol=1e-4)


def test_a_stream_follows_what_is_asked_of_it(synth: Synthesizer) -> None:
    asked: list[float] = []

    def controls(seconds: float) -> dict[str, object]:
        asked.append(seconds)
        return {"class": "wind" if len(asked) < 3 else "pistons"}

    moved = np.concatenate(list(islice(synth.stream(controls, chunk_seconds=0.1, seed=5), 6)))
    fixed = np.concatenate(list(islice(synth.stream({"class": "wind"}, chunk_seconds=0.1, seed=5), 6)))
    assert asked == pytest.approx([9 * chunk * 512 / 44100 for chunk in range(6)])
    same = 7 * 512  # up to the codec's delay before the change, at the third chunk
    np.testing.assert_array_equal(moved[:same], fixed[:same])
    assert not np.array_equal(moved, fixed)


def test_a_change_of_level_in_a_stream_is_a_ramp(untrained: Synthesizer) -> None:
    """The level of the classes goes over within a frame, so that nothing clicks."""
    controls = {"class": {"wind": Curve([(0, 1), (0.4, 1), (0.4, 0)]), "pistons": Curve([(0, 0), (0.4, 0), (0.4, 1)])}}
    streamed = np.concatenate(list(islice(untrained.stream(controls, chunk_seconds=0.1, seed=1), 8)))
    codes = untrained.generate(72 / untrained.info.frame_rate, controls, seed=1).codes
    decoded = untrained.codec.decode(torch.from_numpy(codes)[None])[0, 0].numpy()[: len(streamed)]
    loud = np.flatnonzero((np.abs(decoded) > 0.02) & (np.abs(streamed) < 1.0))
    gain = streamed[loud] / decoded[loud]
    before, after = (10 ** (-untrained.info.level_offset_db[name] / 20) for name in ("wind", "pistons"))
    np.testing.assert_allclose([gain[0], gain[-1]], [before, after], rtol=1e-2)
    assert (np.abs(np.diff(gain)) <= 1.1 * abs(after - before) / 512 * np.diff(loud) + 5e-3).all()


def tensor_bytes() -> int:
    gc.collect()
    return sum(each.nbytes for each in gc.get_objects() if type(each) in (torch.Tensor, torch.nn.Parameter))


def test_a_stream_needs_no_more_memory_the_longer_it_plays(synth: Synthesizer) -> None:
    stream = synth.stream({"class": "wind"}, chunk_seconds=0.1)
    list(islice(stream, 4))
    early = tensor_bytes()
    list(islice(stream, 7))  # past the wrap of every ring, which has 79 frames
    assert tensor_bytes() == early


@pytest.fixture
def prompt(codec: Codec) -> np.ndarray:
    """Codes of a falling tone, 40 frames."""
    return codec.encode(torch.from_numpy(tone(40))[None, None])[0].numpy()


def tone(frames: int) -> np.ndarray:
    time = np.arange(frames * 512) / 44100
    return (0.3 * np.sin(2 * np.pi * (900 * time - 400 * time**2))).astype(np.float32)


def test_a_continuation_of_codes_is_what_a_plain_loop_draws(synth: Synthesizer, prompt: np.ndarray) -> None:
    controls = {"class": "wind", "strength": 0.5}
    take = synth.continue_from(prompt, 0.3, controls, seed=4, precision="float32")
    assert take.codes.shape == (4, 66) and take.audio.shape == (66 * 512,)
    condition = torch.from_numpy(Controls.of(controls).condition_at(np.zeros(66), synth.conditions))[None]
    expected = generate_slowly(synth.model, condition, synth.sampling, 4, torch.from_numpy(prompt)[None])
    np.testing.assert_array_equal(take.codes, expected[0].numpy())
    wind = take.curves.classes["wind"]
    assert np.isnan(wind[:40]).all() and (wind[40:] == 1).all()


def test_a_continuation_depends_on_its_prompt(synth: Synthesizer, prompt: np.ndarray) -> None:
    one, other = (synth.continue_from(codes, 0.3, seed=4) for codes in (prompt, np.ascontiguousarray(prompt[:, ::-1])))
    assert not np.array_equal(one.codes[:, 40:], other.codes[:, 40:])


def test_a_sound_is_continued_from_its_codes(synth: Synthesizer, codec: Codec, tmp_path: Path) -> None:
    path = write_audio(tmp_path / "prompt.wav", tone(40), 44100)
    audio = read_audio(path, 44100)
    gain = min(10 ** ((-16.0 - loudness_db(audio, 44100)) / 20), 1 / np.abs(audio).max())
    codes = codec.encode(torch.from_numpy(audio * np.float32(gain))[None, None])[0].numpy()
    take = synth.continue_from(path, 0.1, seed=0)
    np.testing.assert_array_equal(take.codes[:, :40], codes)
    np.testing.assert_array_equal(take.codes, synth.continue_from(codes, 0.1, seed=0).codes)


def test_a_dac_file_is_continued_from_its_codes(synth: Synthesizer, prompt: np.ndarray, tmp_path: Path) -> None:
    file = DacFile(prompt[None], 44100, 40 * 512, -20.0, 40, codec=synth.info.codec)
    path = write_dac(tmp_path / "prompt.dac", file)
    np.testing.assert_array_equal(synth.continue_from(path, 0.1).codes, synth.continue_from(prompt, 0.1).codes)


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (np.zeros((3, 5), int), "expected integers"),
        (np.zeros((1, 4, 5), int), "expected integers"),
        (np.zeros((4, 0), int), "T > 0"),
        (np.zeros((4, 5)), "float64"),
        (np.full((4, 5), 1024), "0 to 1023"),
        (np.full((4, 5), -1), "0 to 1023"),
    ],
)
def test_codes_that_are_no_prompt_are_refused(synth: Synthesizer, codes: np.ndarray, said: str) -> None:
    with pytest.raises(UserError, match=said):
        synth.continue_from(codes, 0.1)


def test_a_prompt_that_is_not_there_is_refused(synth: Synthesizer, tmp_path: Path) -> None:
    for name in ("nothing.wav", "nothing.dac"):
        with pytest.raises(UserError, match=re.escape(name)):
            synth.continue_from(tmp_path / name, 0.1)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_saved_sound_holds_the_recipe_to_make_it_again(synth: Synthesizer, tmp_path: Path, suffix: str) -> None:
    controls = {"class": "wind", "strength": Curve([(0, 0.1), (1, 0.9)])}
    take = synth.generate(0.3, controls, seed=11, temperature=0.9)
    path = take.save(tmp_path / "new folder" / f"take{suffix}")
    np.testing.assert_allclose(read_audio(path, 44100), take.audio, atol=1e-4)
    recipe = parse_recipe(read_comment(path), str(path))
    assert recipe.checkpoint == synth.checkpoint.identity and recipe.codec == synth.info.codec
    made_again = synth.generate(0.3, recipe.controls, recipe.seed, **recipe.sampling.changes())
    np.testing.assert_array_equal(made_again.codes, take.codes)


def test_a_saved_dac_file_is_read_back(synth: Synthesizer, codec: Codec, tmp_path: Path) -> None:
    take = synth.generate(0.3, {"class": "wind"}, seed=1)
    path = take.save(tmp_path / "new folder" / "take.dac")
    file = read_dac(path)
    np.testing.assert_array_equal(file.codes[0], take.codes)
    assert file.sample_rate == 44100 and file.original_length == len(take.audio)
    assert file.input_db == pytest.approx(loudness_db(take.audio, 44100))
    np.testing.assert_allclose(codec.decode_file(file)[:, 0], take.audio, atol=1e-3)
    assert file.codec == codec.identity
    assert json.loads(file.recipe)["seed"] == 1


def test_codes_of_an_unknown_codec_are_no_prompt_unless_they_are_given(
    synth: Synthesizer, prompt: np.ndarray, tmp_path: Path
) -> None:
    path = write_dac(tmp_path / "prompt.dac", DacFile(prompt[None], 44100, 40 * 512, -20.0, 40))
    for given in (path, read_dac(path)):
        with pytest.raises(UserError, match=r"does not say which codec made it.*--codec small"):
            synth.continue_from(given, 0.1)
    np.testing.assert_array_equal(synth.continue_from(read_dac(path).codes[0], 0.1).codes[:, :40], prompt)


def test_a_take_whose_file_states_no_codec_is_that_of_its_recipe(synth: Synthesizer, tmp_path: Path) -> None:
    path = synth.generate(0.1).save(tmp_path / "take.dac")
    file = dataclasses.replace(read_dac(path), codec="")
    assert synth.load_take(write_dac(path, file)).codes.shape == (4, 9)
    recipe = json.dumps(json.loads(file.recipe) | {"codec": "other-0"})
    with pytest.raises(UserError, match="codes of other-0"):
        synth.load_take(write_dac(path, dataclasses.replace(file, recipe=recipe)))


def test_a_dac_file_of_another_codec_is_no_prompt(synth: Synthesizer, tmp_path: Path) -> None:
    path = synth.generate(0.3, {"class": "wind"}).save(tmp_path / "take.dac")
    other = write_dac(tmp_path / "other.dac", dataclasses.replace(read_dac(path), codec="other-0"))
    with pytest.raises(UserError, match="other-0"):
        synth.continue_from(other, 0.3)


def test_a_recipe_too_long_for_a_comment_lies_beside(synth: Synthesizer, tmp_path: Path) -> None:
    curve = Curve([(second / 100, second % 2) for second in range(300)])
    path = synth.generate(0.1, {"class": "wind", "strength": curve}).save(tmp_path / "take.wav")
    assert read_comment(path) == ""
    assert len(json.loads(path.with_suffix(".json").read_text())["controls"]["parameters"]["strength"]["points"]) == 300


def test_a_take_shows_itself(synth: Synthesizer) -> None:
    take = synth.generate(0.3, {"class": "wind", "strength": Curve([(0, 0), (1, 1)])})
    figure = take.plot()
    assert isinstance(figure, Figure)
    wave, spectrum, below = figure.axes
    assert wave.collections and spectrum.get_ylabel() == "Hz (mel)" and spectrum.collections
    assert {line.get_label() for line in below.lines} == {"wind", "strength"}
    assert re.search(r"<audio[^>]*controls", take._repr_html_())
    synth.continue_from(take.codes, 0.1).plot()  # without any control


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "1", True, None, [1.0], 10**400])
def test_a_length_that_is_none_is_refused(synth: Synthesizer, seconds: Any) -> None:
    for ask in (synth.generate, synth.loop, lambda s: synth.stream(chunk_seconds=s)):
        with pytest.raises(UserError, match=r"expected a length (above 0|of 0\.2 or more)"):
            ask(seconds)


@pytest.mark.parametrize("seconds", [1e9, 1e300, 10**20])
def test_what_the_memory_does_not_hold_is_refused_before(synth: Synthesizer, seconds: float) -> None:
    take = synth.generate(0.02)
    for ask in (
        synth.generate,
        synth.loop,
        take.extend,
        lambda s: take.branch(2, s),
        lambda s: synth.stream(chunk_seconds=s),
        lambda s: synth.continue_from(take.codes, s),
        lambda s: synth.generate_batch(s / 1000, [{}] * 1000),
    ):
        with pytest.raises(UserError, match=r"GB of memory would be needed, and .* `stream` plays on for ever"):
            ask(seconds)


@pytest.mark.parametrize("number", [np.int64, np.float64, np.array, Decimal, torch.tensor])
def test_numbers_of_any_kind_make_the_same_take_that_is_opened_again(
    synth: Synthesizer, tmp_path: Path, number: Callable[[int], Any]
) -> None:
    controls = {"class": {"wind": number(1)}, "strength": Curve([(number(0), number(1))])}
    settings = {"temperature": number(1), "top_k": number(9), "top_p": [number(1)] * 4, "guidance": number(2)}
    take = synth.generate(number(2), controls, number(3), **settings).cut(number(1))
    curve = {"class": {"wind": 1}, "strength": Curve([(0, 1)])}
    usual = synth.generate(2, curve, 3, temperature=1, top_k=9, top_p=[1, 1, 1, 1], guidance=2).cut(1)
    np.testing.assert_array_equal(take.codes, usual.codes)
    for name in ("take.dac", "take"):
        assert synth.load_take(take.save(tmp_path / name)).recipe == usual.recipe


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "3", True, None, float("nan")])
def test_a_seed_that_is_none_is_refused(synth: Synthesizer, seed: Any) -> None:
    take = synth.generate(0.02)
    for ask in (
        lambda: synth.generate(0.1, seed=seed),
        lambda: synth.generate_codes(0.1, [{}], seed),
        lambda: synth.stream(seed=seed),
        lambda: synth.continue_from(take.codes, 0.1, seed=seed),
        lambda: Performance(synth, seed),
    ):
        with pytest.raises(UserError, match=r"^seed=.*expected a whole number"):
            ask()


@pytest.mark.parametrize("controls", [[], {}, {"class": "wind"}])
def test_a_batch_is_a_list(synth: Synthesizer, controls: Any) -> None:
    with pytest.raises(UserError, match="Expected a list, one for each take"):
        synth.generate_batch(0.1, controls)


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"temperature": (1, 1)}, "temperature has 2 values"),
        ({"temperature": True}, "temperature"),
        ({"temperature": None}, "temperature"),
        ({"temperature": (1, 1, 1, -1)}, r"'temperature\.3'"),
        ({"temperature": ()}, "temperature has 0 values"),
        ({"top_p": float("nan")}, "top_p"),
        ({"top_p": (1, 1, 1, 2)}, r"'top_p\.3'"),
        ({"top_k": (0, 0, 0, 0.5)}, r"'top_k\.3'"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 1.5}, "top_p"),
        ({"guidance": float("inf")}, "guidance"),
        ({"guidance": "much"}, "guidance"),
        ({"guidance": Curve([(0, 1), (1, -1)])}, "guidance"),
        ({"temperature": Curve([(0, 1), (1, None)], step=True)}, "temperature"),
        ({"precision": Curve([(0, 1)])}, "precision"),
        ({"temprature": 1}, "Did you mean 'temperature'"),
    ],
)
def test_sampling_that_makes_no_sense_is_refused(synth: Synthesizer, sampling: dict[str, Any], said: str) -> None:
    for ask in (lambda: synth.generate(0.1, **sampling), lambda: synth.stream(**sampling)):
        with pytest.raises(UserError, match=said) as refused:
            ask()
        assert "\n" not in str(refused.value) and "constrained" not in str(refused.value)


def test_unknown_controls_are_refused(synth: Synthesizer) -> None:
    with pytest.raises(UserError, match=r"Unknown class 'wnd'. Did you mean 'wind'"):
        synth.generate(0.1, {"class": "wnd"})
    with pytest.raises(UserError, match=r"Unknown parameter 'gain'. Known: rate, strength"):
        next(synth.stream({"gain": 1}))
    with pytest.raises(UserError, match=r"Unknown parameter 'gain'"):
        next(synth.stream(lambda _: {"gain": 1}))


def test_another_codec_is_refused(trained: Path, tmp_path: Path, synth: Synthesizer) -> None:
    from dacformer.codec.weight_files import EMBEDDED

    other = shutil.copy(EMBEDDED["small"], tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=rf"speaks the codes of {synth.info.codec}, but this codec is other-"):
        load(trained, codec=other)


def test_a_checkpoint_of_a_run_is_chosen(trained: Path) -> None:
    assert load(trained, "last").checkpoint.metadata.step == 80
    assert load(find_checkpoint(trained, "last")).checkpoint.metadata.step == 80
    assert load(trained).checkpoint.identity == load_checkpoint(trained).identity
