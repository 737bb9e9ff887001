from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dacformer.config import (
    CodecTrainingConfig,
    Config,
    SamplingConfig,
    Section,
    load_config,
    parse_config,
    save_config,
)
from dacformer.errors import UserError
from dacformer.interfaces import LiveMapping

PARAMS = Path(__file__).parents[1] / "params"


@pytest.mark.parametrize("path", sorted(PARAMS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_file_loads(path: Path) -> None:
    kind = {"codec_small": CodecTrainingConfig, "live": LiveMapping}.get(path.stem, Config)
    assert isinstance(load_config(path, kind=kind), kind)


def test_no_settings_are_all_defaults_but_an_empty_file_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "none.yaml").write_text("{}")
    assert load_config(tmp_path / "none.yaml") == Config()
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    with pytest.raises(UserError, match=r"empty\.yaml is empty, expected settings"):
        load_config(tmp_path / "empty.yaml")
    with pytest.raises(UserError, match="is a folder, expected a settings file"):
        load_config(tmp_path)


def test_a_wrong_override_is_named_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("{}")
    with pytest.raises(
        UserError, match=r"a\.yaml trainin\.steps=3: unknown setting 'trainin'. Did you mean 'training'"
    ):
        load_config(tmp_path / "a.yaml", ["trainin.steps=3"])


def test_a_notebook_shows_a_mistake_of_the_users_alone() -> None:
    assert UserError("what to do")._render_traceback_() == ["UserError: what to do"]


@pytest.mark.parametrize(
    ("tree", "nearest"),
    [
        ({"training": {"stepz": 3}}, "training.steps"),
        ({"model": {"num_layer": 3}}, "model.num_layers"),
        ({"trainin": {"steps": 3}}, "training"),
        ({"steps": 3}, "training.steps"),
        ({"seed": 3}, "training.seed"),
        ({"model": {"learning_rate": 0.1}}, "training.learning_rate"),
    ],
)
def test_an_unknown_key_names_the_nearest(tree: dict, nearest: str) -> None:
    with pytest.raises(UserError, match=f"unknown setting .*Did you mean '{nearest}") as error:
        parse_config(tree, "my.yaml")
    assert str(error.value).startswith("my.yaml")


def test_a_key_like_no_other_lists_all() -> None:
    with pytest.raises(UserError, match=r"Known: run, data.path, .*sampling.guidance"):
        parse_config({"xyzzy": 1}, "my.yaml")


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"training": {"steps": "many"}}, "'training.steps': .*given: 'many'"),
        ({"training": {"steps": 0}}, "'training.steps': .*greater than or equal to 1"),
        ({"training": {"seed": -1}}, "'training.seed': .*greater than or equal to 0"),
        ({"training": {"ema_decay": 1.0}}, "'training.ema_decay': .*less than 1"),
        ({"training": None}, "'training': "),
        ({"model": {"head": "deep"}}, "'model.head': .*'depth' or 'parallel'"),
        ({"model": {"dim": 100, "num_heads": 8}}, "dim=100 cannot be shared by num_heads=8: .*multiple of 16"),
        ({"sampling": {"temperature": "hot"}}, r"'sampling.temperature.*given: 'hot'"),
        ({"sampling": {"top_p": 1.5}}, r"'sampling.top_p.*given: 1.5"),
    ],
)
def test_a_wrong_value_is_named(tree: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_config(tree, "my.yaml")


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(UserError, match=r"(?s)model.dim.*training.steps"):
        parse_config({"training": {"steps": -1}, "model": {"dim": "wide"}}, "my.yaml")


def test_a_gain_is_a_range() -> None:
    with pytest.raises(UserError, match=r"gain_db.*lowest, highest"):
        parse_config({"gain_db": [6, -6]}, "codec.yaml", CodecTrainingConfig)


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "cannot be read as YAML"), ("just words", "holds str"), ("- 1", "holds list"), ("\x00", "YAML")],
)
def test_what_is_no_settings_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(UserError, match=said):
        load_config(tmp_path / "bad.yaml")


def test_no_file_a_folder_and_a_picture_are_refused(tmp_path: Path) -> None:
    (tmp_path / "picture.yaml").write_bytes(b"\x89PNG\r\n\xff\xfe")
    for path, said in (
        (tmp_path / "none.yaml", "no settings file"),
        (tmp_path, "is a folder"),
        (tmp_path / "picture.yaml" / "below.yaml", "cannot be read"),
        (tmp_path / "picture.yaml", "cannot be read"),
    ):
        with pytest.raises(UserError, match=said):
            load_config(path)


def test_settings_looked_for_from_another_folder_say_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refused:
        load_config("params/params_sm.yaml")
    assert f"no settings file params/params_sm.yaml in {tmp_path}." in str(refused.value)
    assert "start from the clone's folder, or give the full path" in str(refused.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"temperature": -1}, "'temperature': Input should be greater than or equal to 0 (given: -1)"),
        ({"temperature": [1, -1]}, "'temperature.1': Input should be greater than or equal to 0 (given: -1)"),
        ({"top_k": 1.5}, "'top_k': Input should be a valid integer, got a number with a fractional part (given: 1.5)"),
        ({"top_k": ["x"]}, "'top_k.0': Input should be a valid integer"),
        ({"top_p": None}, "'top_p': Input should be a valid number (given: None)"),
        ({"top_p": [2], "guidance": "x"}, "'top_p.0': Input should be less than or equal to 1 (given: 2); 'guidance'"),
    ],
)
def test_what_may_be_one_or_several_says_what_is_wrong_once(given: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_config(given, "sampling", SamplingConfig)
    assert str(refused.value).startswith(f"sampling: {said}") and "\n" not in str(refused.value)


def test_overrides_go_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("training: {steps: 10}\nrun: runs/a")
    words = ["training.steps=20", "training.learning_rate=1e-4", "data.path=my/set", "sampling.top_k=[5, 0, 0, 0]"]
    config = load_config(path, words)
    assert (config.training.steps, config.training.learning_rate) == (20, 1e-4)
    assert (config.data.path, config.run) == (Path("my/set"), Path("runs/a"))
    assert config.sampling.top_k == (5, 0, 0, 0)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("training.steps", "Expected key=value"),
        ("run.steps=2", "'run' is a value"),
        ("training.stepz=2", "Did you mean 'training.steps'"),
        ("training.steps=[", "not YAML"),
        ("training.steps=", "'training.steps'"),
    ],
)
def test_a_bad_override_is_refused(tmp_path: Path, word: str, said: str) -> None:
    (tmp_path / "a.yaml").write_text("run: runs/a")
    with pytest.raises(UserError, match=said):
        load_config(tmp_path / "a.yaml", [word])


def test_a_config_is_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().training.steps = 3  # pyright: ignore[reportAttributeAccessIssue]


CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "run": st.text("abc/_ äß", min_size=1),
        "data": st.fixed_dictionaries({}, optional={"segment_frames": st.integers(1, 10**6)}),
        "training": st.fixed_dictionaries(
            {},
            optional={
                "learning_rate": st.floats(1e-12, 1e3),
                "seed": st.integers(0, 2**63 - 1),
                "steps": st.integers(1, 2**31 - 1),
            },
        ),
        "sampling": st.fixed_dictionaries(
            {}, optional={"temperature": st.one_of(st.floats(0, 9), st.tuples(st.floats(0, 9), st.floats(0, 9)))}
        ),
    },
)


@settings(deadline=None, max_examples=50)
@given(CONFIGS)
def test_yaml_round_trip_is_exact(tmp_path_factory: pytest.TempPathFactory, tree: dict) -> None:
    config = parse_config(tree, "test")
    path = tmp_path_factory.mktemp("round") / "deep" / "config.yaml"
    save_config(config, path)
    assert load_config(path) == config
    assert [p.name for p in path.parent.iterdir()] == ["config.yaml"]  # nothing half-written is left


def test_codec_training_round_trip_is_exact(tmp_path: Path) -> None:
    config = load_config(PARAMS / "codec_small.yaml", kind=CodecTrainingConfig)
    save_config(config, tmp_path / "c.yaml")
    assert load_config(tmp_path / "c.yaml", kind=CodecTrainingConfig) == config
    assert "!!" not in (tmp_path / "c.yaml").read_text()
    assert yaml.safe_load((tmp_path / "c.yaml").read_text())["speeds"] == list(config.speeds)


def test_sections_refuse_unknown_keys_everywhere() -> None:
    def sections(kind: type[Section]) -> list[type[Section]]:
        return [kind, *(deeper for below in kind.__subclasses__() for deeper in sections(below))]

    assert all(kind.model_config["extra"] == "forbid" for kind in sections(Section))
