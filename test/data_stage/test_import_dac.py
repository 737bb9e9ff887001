"""A folder of `.dac` files becomes a dataset: DACSynthformer's users move in."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dacformer.audio import write_audio
from dacformer.codec import Codec, DacFile, load_codec, read_dac, write_dac
from dacformer.codec.dac_file import same_codec
from dacformer.codec.weight_files import CodecConfig, build_model, save_weights
from dacformer.data.dataset import load_dataset
from dacformer.data.import_dac import find_codes, import_folder
from dacformer.errors import UserError

SECONDS, V = 0.5, 64
NAMES = ("01.do", "02.re", "03.mi", "04.fa")

WriteCodes = Callable[..., Path]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codec of 44.1 kHz, hop 512, K = 6, V = 64, as a file."""
    path = tmp_path_factory.mktemp("codec") / "tiny.safetensors"
    sizes = CodecConfig(encoder_dim=2, decoder_dim=16, n_codebooks=6, codebook_size=V, codebook_dim=4)
    save_weights(path, sizes, build_model(sizes).state_dict())
    return path


@pytest.fixture(scope="module")
def named(weights: Path) -> Codec:
    return load_codec(weights)


@pytest.fixture
def write_codes(tmp_path: Path) -> WriteCodes:
    """Writes `.dac` files as `python -m dac` does, which do not state a codec: `write_codes("a", ...) -> folder`."""

    def write(
        *names: str, codec: str = "", codebooks: int = 6, size: int = V, frame_rate: float = 44100 / 512, chunk: int = 0
    ) -> Path:
        for i, name in enumerate(names):
            num_frames = round(SECONDS * frame_rate)
            codes = np.random.default_rng(i).integers(0, size, (1, codebooks, num_frames))
            file = DacFile(
                codes, 22050, round(SECONDS * 22050), -20.0, chunk or num_frames, padding=not chunk, codec=codec
            )
            write_dac(tmp_path / "codes" / f"{name}.dac", file)
        return tmp_path / "codes"

    return write


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """DACSynthformer's table of labels."""
    files = [f"{name}.dac" for name in NAMES]
    rows = {"Full File Name": files, "Class Name": ["low", "low", "high", "high"], "Param1": [0, 0.5, 0, 1]}
    pd.DataFrame(rows).to_excel(tmp_path / "train.xlsx", index=False)
    return tmp_path / "train.xlsx"


def test_import_folder_makes_dataset_of_dacsynthformer_folder(
    write_codes: WriteCodes, table: Path, weights: Path, named: Codec, tmp_path: Path
) -> None:
    folder = write_codes(*NAMES)
    for _ in range(2):  # again, it is the same
        report = import_folder(folder, tmp_path / "set", str(weights), table, validation=0.5)
        assert (report.taken, report.skipped) == (4, {})
        dataset = load_dataset(tmp_path / "set")
    info = dataset.info
    assert (info.codec, info.codec_name, info.num_codebooks) == (named.identity, str(weights), 4)
    assert dataset.conditions.classes == ("high", "low") and list(dataset.conditions.parameters) == ["Param1"]
    assert sorted(dataset.rows["split"]) == ["train", "train", "val", "val"]
    for name in NAMES:
        assert (tmp_path / "set" / f"{name}.dac").read_bytes() == (folder / f"{name}.dac").read_bytes()
        np.testing.assert_array_equal(dataset.codes(f"{name}.dac"), read_dac(folder / f"{name}.dac").codes[0, :4])
    assert set(info.level_offset_db) == {"high", "low"} and all(gain != 0.0 for gain in info.level_offset_db.values())


def test_import_folder_in_place(write_codes: WriteCodes, weights: Path) -> None:
    folder = write_codes("rain/a", "rain/b", "wind/c--rate-1", codebooks=2)
    assert import_folder(folder, folder, str(weights)).taken == 3
    dataset = load_dataset(folder)
    assert dataset.conditions.classes == ("c", "rain") and dataset.info.num_codebooks == 2
    with pytest.raises(UserError, match=r"codes is a dataset already .made by .dacformer encode"):
        import_folder(folder, folder.parent / "other", str(weights))


def test_import_folder_of_published_codec_needs_no_weights(
    write_codes: WriteCodes, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("HOME", tmp_path),
        ("HTTPS_PROXY", "http://127.0.0.1:9"),
        ("https_proxy", "http://127.0.0.1:9"),
    ):
        monkeypatch.setenv(name, str(value))
    folder = write_codes(*NAMES, codebooks=9, size=1024)
    with pytest.warns(UserWarning, match="could not be downloaded .* The codes are taken without it"):
        import_folder(folder, tmp_path / "set", "44khz", table)
    info = load_dataset(tmp_path / "set").info
    assert (info.codec, info.sample_rate, info.hop_length, info.num_codebooks) == ("44khz", 44100, 512, 4)
    assert info.level_offset_db == {}
    with pytest.warns(UserWarning), pytest.raises(UserError, match=r"43 frames for 0\.50 s .* 50\.0 a"):
        import_folder(folder, tmp_path / "other", "16khz", table)
    with pytest.warns(UserWarning), pytest.raises(UserError, match="holds codes of small-12, not of 44khz"):
        import_folder(write_codes(*NAMES, codec="small-12"), tmp_path / "other", "44khz", table)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"codebooks": 7}, "it has 7 codebooks .* the codec K=6, V=64"),
        ({"size": 1024}, "codes up to 1[0-9]{3}|codes up to [0-9]+, the codec K=6, V=64"),
        ({"frame_rate": 50.0}, r"25 frames for 0\.50 s are not the codec's 86\.1 a second"),
        ({"chunk": 40}, r"43 frames for 0\.50 s are not"),
        ({"codec": "other-123"}, r"holds codes of other-123, not of tiny-.*Give that one"),
    ],
)
def test_import_folder_refuses_codes_that_do_not_fit_codec(
    write_codes: WriteCodes, weights: Path, tmp_path: Path, form: dict, said: str
) -> None:
    folder = write_codes("rain/a", **form)
    with pytest.raises(UserError, match=said):
        import_folder(folder, tmp_path / "set", str(weights))
    assert not (tmp_path / "set").exists()


def test_import_folder_requires_codec_name_for_unnamed_codes(write_codes: WriteCodes, tmp_path: Path) -> None:
    folder = write_codes("rain/a")
    with pytest.raises(UserError, match=r"a\.dac does not say which codec .*--codec 44khz is the usual one"):
        import_folder(folder, tmp_path / "set", None)
    small = load_codec("small")
    write_codes("rain/a", codec=small.identity, codebooks=4)
    assert import_folder(folder, tmp_path / "set", None).taken == 1
    assert load_dataset(tmp_path / "set").info.codec == small.identity
    write_codes("rain/b", codec="other-1")
    with pytest.raises(UserError, match=r"of more than one codec: '.*b\.dac' of other-1, '.*a\.dac' of small-"):
        import_folder(folder, tmp_path / "set", None)


def test_import_folder_skips_and_logs_broken_file(
    write_codes: WriteCodes, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_codes("rain/a", "rain/b")
    (folder / "rain" / "b.dac").write_bytes(b"no codes")
    report = import_folder(folder, tmp_path / "set", str(weights))
    assert report.taken == 1 and list(report.skipped) == [str(folder / "rain" / "b.dac")]
    assert caplog.messages == [f"skipped: {problem}" for problem in report.skipped.values()]
    with pytest.raises(UserError, match=r"b\.dac is not a whole \.dac file"):
        import_folder(folder, tmp_path / "set", str(weights), strict=True)


def test_import_folder_warns_about_overlapping_chunks(write_codes: WriteCodes, weights: Path, tmp_path: Path) -> None:
    folder = write_codes("rain/a", frame_rate=96.0, chunk=24)
    with pytest.warns(UserWarning, match="1 files, such as .*a.dac, are chunks that overlap"):
        import_folder(folder, tmp_path / "set", str(weights))
    assert load_dataset(tmp_path / "set").codes("rain/a.dac").shape == (4, 48)


def test_find_codes_warns_and_returns_none_beside_sounds(write_codes: WriteCodes) -> None:
    folder = write_codes("a", ".hidden/b")
    assert [path.name for path in find_codes(folder)] == ["a.dac"]
    write_audio(folder / "a.wav", 0.1 * np.ones(4410), 44100)
    with pytest.warns(UserWarning, match=r"holds sounds and 1 \.dac files: the sounds are encoded"):
        assert find_codes(folder) == []


def test_same_codec_accepts_name_without_hash() -> None:
    assert same_codec("44khz", "44khz-0123") and same_codec("44khz-0123", "44khz") and same_codec("a-1", "a-1")
    assert not same_codec("44khz", "24khz-0123") and not same_codec("a-1", "a-2") and not same_codec("", "a-1")
    assert not same_codec("", "44khz") and not same_codec("44khz", "24khz")
