"""The command that trains a codec."""

from pathlib import Path

import pytest

from dacformer.codec.train import main


def test_mistake_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(tmp_path / "none.yaml")
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: There is no settings file")
