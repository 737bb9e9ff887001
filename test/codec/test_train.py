"""The command that trains a codec."""

import re
from pathlib import Path

import pytest

from dacformer.codec.train import main


def test_mistake_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(tmp_path / "none.yaml")
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: There is no settings file")


@pytest.mark.slow
def test_the_command_says_what_it_trains_on_and_where_the_codec_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One step at a toy size, on two textures of each class."""
    run = tmp_path / "run"
    sizes = "encoder_dim: 2, decoder_dim: 16, codebook_size: 16, codebook_dim: 4"
    (tmp_path / "toy.yaml").write_text(f"codec: {{{sizes}}}\ntextures_per_class: 2\ncrop_samples: 2048\nbatch_size: 1")
    main(tmp_path / "toy.yaml", [f"run={run}", "steps=1", "name=toy"])
    out = capsys.readouterr().out
    said, made = out.splitlines()
    assert re.fullmatch(r"16 recordings \([\d.]+ min\) to train on, 0 held out; \w+", said)
    assert made == f"The codec is {run / 'toy.safetensors'}" and (run / "toy.safetensors").is_file()
