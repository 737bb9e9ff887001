"""Work is shared out whole, whatever its length and however many threads; kernels keep to the instructions allowed."""

import os
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dacformer.jit import in_parallel

ROOT = Path(__file__).parents[1]


@given(st.integers(0, 100), st.integers(1, 40), st.integers(1, 5))
def test_in_parallel_slices_cover_range_once(length: int, at_least: int, threads: int) -> None:
    parts: list[slice] = []
    with patch.object(torch, "get_num_threads", return_value=threads):
        in_parallel(parts.append, length, at_least)
    parts.sort(key=lambda part: part.start)
    assert [i for part in parts for i in range(length)[part]] == list(range(length))
    assert len(parts) == 1 or all(part.stop - part.start >= at_least for part in parts)
    assert len(parts) <= threads


def test_in_parallel_raises_exception_of_thread() -> None:
    def work(part: slice) -> None:
        if part.start:
            raise ValueError("the second part")

    with patch.object(torch, "get_num_threads", return_value=2):
        try:
            in_parallel(work, 2, at_least=1)
        except ValueError as error:
            assert "the second part" in str(error)
        else:
            raise AssertionError


ASSEMBLY = """
import numba.core.dispatcher, torch
from dacformer.codec import snake
from dacformer.config import ModelConfig
from dacformer.model import CompiledStep, DACFormer, compiled

model = DACFormer(ModelConfig(dim=32, num_layers=1, num_heads=2, window_frames=4), 2, 16, 3).eval()
for int8 in (True, False):
    CompiledStep(model, int8)(torch.zeros(1, 1, 3), model.init_state(1), lambda logits, k: logits.argmax(-1))
for dtype in (torch.float32, torch.bfloat16):
    snake.Snake(torch.ones(1, 8, 1))(torch.zeros(1, 64, 8, dtype=dtype).mT)
for module in (compiled, snake):
    for kernel in vars(module).values():
        if isinstance(kernel, numba.core.dispatcher.Dispatcher):
            print(kernel.__name__, *("zmm" if "zmm" in text else "narrow" for text in kernel.inspect_asm().values()))
"""


@pytest.mark.heavy
def test_avx2_kernels_hold_no_512_bit_instruction(tmp_path: Path) -> None:
    settings = re.search(r"^AVX2 :=((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert settings is not None
    pairs = dict(word.split("=", 1) for word in settings[1].replace("\\\n", " ").split())
    environment = os.environ | pairs | {"NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", ASSEMBLY], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    widths = {name: kinds for name, *kinds in map(str.split, done.stdout.splitlines())}
    assert {"_linear", "_block", "_depth_logits", "_snake_float32", "_snake_bfloat16"} <= widths.keys()
    assert all(set(kinds) <= {"narrow"} for kinds in widths.values()), widths
    assert widths["_block"] and widths["_snake_float32"]
