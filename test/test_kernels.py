"""Work is shared out whole, whatever its length and however many threads."""

from unittest.mock import patch

import torch
from hypothesis import given
from hypothesis import strategies as st

from dacformer.kernels import in_parallel


@given(st.integers(0, 100), st.integers(1, 40), st.integers(1, 5))
def test_parts_cover_everything_once_and_are_as_long_as_asked(length: int, at_least: int, threads: int) -> None:
    parts: list[slice] = []
    with patch.object(torch, "get_num_threads", return_value=threads):
        in_parallel(parts.append, length, at_least)
    parts.sort(key=lambda part: part.start)
    assert [i for part in parts for i in range(length)[part]] == list(range(length))
    assert len(parts) == 1 or all(part.stop - part.start >= at_least for part in parts)
    assert len(parts) <= threads


def test_what_fails_in_another_thread_is_raised() -> None:
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
