from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from dacformer.codec.training.config import CodecTrainingConfig, SoundSource
from dacformer.config import (
    Config,
    SamplingConfig,
    Settings,
    load_config,
    parse_config,
    save_config,
)
from dacformer.errors import UserError
from dacformer.notebook import LiveMapping

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
    assert "Give a path, or the name of shipped settings" in str(refused.value)


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


@pytest.mark.parametrize("kind", [Config, CodecTrainingConfig, SoundSource, LiveMapping])
def test_every_setting_says_what_it_is(kind: type[Settings]) -> None:
    """Notebooks show the text, and the documentation site does."""

    def undocumented(section: type[BaseModel]) -> list[str]:
        found = [f"{section.__name__}.{name}" for name, field in section.model_fields.items() if not field.description]
        below = [field.annotation for field in section.model_fields.values()]
        sections = [each for each in below if isinstance(each, type) and issubclass(each, BaseModel)]
        return found + [name for each in sections for name in undocumented(each)]

    assert undocumented(kind) == []


def test_sections_refuse_unknown_keys_everywhere() -> None:
    def sections(kind: type[Settings]) -> list[type[Settings]]:
        return [kind, *(deeper for below in kind.__subclasses__() for deeper in sections(below))]

    assert all(kind.model_config.get("extra") == "forbid" for kind in sections(Settings))


NAMES = ["2024", "2024-11-24", "12:30", "1e3", "0x10", "no", "On", "yes", "true", "a#b", "ünï 😀", "x\\y", "-x"]


@pytest.mark.parametrize("name", [*NAMES, "a: b #2", "&x", "*x", "-", "null and void"])
def test_a_folder_may_be_called_anything_on_the_command_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.yaml").write_text("{}")
    assert load_config(tmp_path / "a.yaml", [f"run={name}", f"data.path={name}"]).run == Path(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_may_be_called_anything_in_yaml(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.yaml").write_text(f"run: {name}\ndata: {{path: {name}}}", encoding="utf-8")
    config = load_config(tmp_path / "a.yaml")
    assert config.run == config.data.path == Path(name)
    save_config(config, tmp_path / "b.yaml")
    assert load_config(tmp_path / "b.yaml") == config


def test_classes_may_be_called_anything(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("notes: {36: no, 37: 2024-11-24, 38: 7}")
    assert load_config(tmp_path / "a.yaml", kind=LiveMapping).notes == {36: "no", 37: "2024-11-24", 38: "7"}


def test_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = parse_config({"run": "~/run", "data": {"path": "~"}}, "test")
    assert (config.run, config.data.path) == (tmp_path / "run", tmp_path)
    with pytest.raises(UserError, match="there is no user '~nobody-of-that-name'"):
        parse_config({"run": "~nobody-of-that-name/x"}, "test")


@pytest.mark.parametrize("given", ["", "~", "null", "[a]", "{a: b}"])
def test_no_path_is_refused_in_plain_words(tmp_path: Path, given: str) -> None:
    (tmp_path / "a.yaml").write_text("{}")
    with pytest.raises(UserError, match=r"'run': expected a path[^\n]*$"):
        load_config(tmp_path / "a.yaml", [f"run={given}"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run: a\ndata: {}\nrun: b", "line 3: 'run' stands twice, first in line 1"),
        ("training:\n  steps: 1\n  seed: 2\n  steps: 3", "line 4: 'steps' stands twice, first in line 2"),
        ("training:\n\tsteps: 3", r"line 2: found character '\\t' that cannot start any token"),
        ("[" * 500, "nested too deeply"),
        ("? [a]\n: 1", "line 1: found unhashable key"),
        ("run: !!python/name:os.system ", "line 1: could not determine a constructor"),
        ("training: {steps: true}", "'training.steps': .*given: 'true'"),
        ("training: {steps: 1.5}", "'training.steps': .*given: '1.5'"),
        ("training: {steps: 3000000000}", "'training.steps': .*less than 2147483648"),
        ("training: {seed: 9223372036854775808}", "'training.seed': .*less than 9223372036854775808"),
        ("training: 2024-11-24", "'training': expected settings, such as .*given: '2024-11-24'"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nrun: [*b, *b, *b, *b, *b, *b, *b, *b]", "'run': expected a path .*…"),
        ("run: " + "[" * 60 + "]" * 60, "line 1: it is nested too deeply"),
        ("# " + "x" * 1_000_001, "it has 1,000,003 characters"),
        ("run: &x [*x]", "line 1: its aliases stand for themselves"),
        ("sampling: {temperature: -1}", r"'sampling\.temperature': Input should be greater than .*given: '-1'\)$"),
        ("sampling: {temperature: [1, -1]}", r"'sampling\.temperature\.1': Input should be .*given: '-1'\)$"),
        ("sampling: {top_p: many}", r"'sampling\.top_p': Input should be a valid number[^;]*given: 'many'\)$"),
    ],
)
def test_a_mistake_in_yaml_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(UserError, match=said) as error:
        load_config(tmp_path / "bad.yaml")
    assert "\n" not in str(error.value) and len(str(error.value)) < 2000


def test_many_mistakes_are_not_all_told(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(f"speeds: [{'x, ' * 1000}]")
    with pytest.raises(UserError, match=r"'speeds\.9': .*; and 990 more\.$"):
        load_config(tmp_path / "bad.yaml", kind=CodecTrainingConfig)


@pytest.mark.parametrize(("text", "rate"), [("6e-3", 6e-3), ("1E-3", 1e-3), (".5", 0.5), ("3", 3.0), ("+1", 1.0)])
def test_a_number_is_a_number_however_it_is_written(tmp_path: Path, text: str, rate: float) -> None:
    (tmp_path / "a.yaml").write_text(f"training: &t {{learning_rate: {text}}}")
    assert load_config(tmp_path / "a.yaml").training.learning_rate == rate
    assert load_config(tmp_path / "a.yaml", [f"training.weight_decay={text}"]).training.weight_decay == rate


def test_anchors_and_merges_are_understood(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("data: &d {batch_size: 3}\nmodel: {dim: &n 64, film_dim: *n}")
    config = load_config(tmp_path / "a.yaml")
    assert (config.data.batch_size, config.model.film_dim) == (3, 64)
    (tmp_path / "b.yaml").write_text("gain_db: [-1, 1]\ncodec: {encoder_rates: [2, 2], <<: {codebook_size: 8}}")
    assert load_config(tmp_path / "b.yaml", kind=CodecTrainingConfig).codec.codebook_size == 8


@pytest.mark.parametrize("text", ["when: !!timestamp soon", "size: !!int many", "sizes: !!set [1]"])
def test_a_tag_that_does_not_fit_its_value_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match="cannot be read as YAML"):
        load_config(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    "change", ["num_layers=48165", "mlp_ratio=1e-320", "head_mlp_ratio=1e62", "film_dim=2147483647"]
)
def test_sizes_that_no_machine_holds_are_refused(tmp_path: Path, change: str) -> None:
    (tmp_path / "params.yaml").write_text("run: here")
    with pytest.raises(UserError, match=change.partition("=")[0]):
        load_config(tmp_path / "params.yaml", [f"model.{change}"])
