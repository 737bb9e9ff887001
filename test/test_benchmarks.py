"""The benchmarks' arithmetic: rows, targets, the machine's description, what is chosen and what is written."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.__main__ import main, measure
from benchmarks.limits import (
    Limits,
    batch_ratio,
    frames_per_second,
    measure_limits,
    sound_asked,
    sound_ratio,
    target_ratio,
)
from benchmarks.machine import _brand, describe_machine, machine_lines
from benchmarks.measure import Row, interleave, settled
from benchmarks.rows import Case, all_cases, select
from benchmarks.table import to_markdown, to_text
from dacformer.hardware import computes_in_bfloat16

NARROW = Limits(150e9, None, 14e9, 28e9, wide=False)
WIDE = Limits(150e9, 400e9, 14e9, 28e9, wide=True)
WEIGHTS, WORK = 4_500_000, 139e9

positive = st.floats(1e6, 1e15)
factors = st.floats(1.0, 1e3)


def test_target_is_what_was_asked_or_a_share_of_the_limit_whichever_is_less() -> None:
    assert target_ratio(3.5, 10.0, 0.8) == 3.5
    assert target_ratio(3.5, 2.0, 0.75) == 1.5
    assert target_ratio(3.5, None, 0.75) == 3.5
    assert target_ratio(None, 4.0, 0.75) == 3.0


@given(st.none() | positive, positive, factors, st.floats(0.0, 1.0))
def test_target_grows_with_the_limit_but_not_beyond_what_was_asked(
    asked: float | None, limit: float, factor: float, share: float
) -> None:
    target = target_ratio(asked, limit, share)
    assert target <= target_ratio(asked, factor * limit, share) <= (asked or math.inf)


@given(factors)
def test_limits_of_rows_grow_with_the_peaks_that_they_are_derived_from(factor: float) -> None:
    reads = replace(NARROW, read_one=factor * NARROW.read_one)
    multiplies = replace(NARROW, float32_peak=factor * NARROW.float32_peak)
    assert frames_per_second(reads, WEIGHTS) == pytest.approx(factor * frames_per_second(NARROW, WEIGHTS))
    assert batch_ratio(multiplies, 16) >= batch_ratio(NARROW, 16) >= batch_ratio(reads, 16)
    assert batch_ratio(multiplies, 16) <= 16
    for better in (reads, multiplies):
        assert sound_ratio(better, WEIGHTS, 86.0, WORK) >= sound_ratio(NARROW, WEIGHTS, 86.0, WORK)


def test_limits_of_rows_are_those_of_their_formulas() -> None:
    assert frames_per_second(NARROW, 14_000_000) == 1000.0
    assert batch_ratio(NARROW, 16) == pytest.approx(150 / 14)
    # 50 frames of 1 ms, and 139 GFLOP at the peak
    assert sound_ratio(NARROW, 14_000_000, 50.0, WORK) == pytest.approx(1 / (0.05 + 139 / 150))
    assert sound_ratio(WIDE, 14_000_000, 50.0, WORK) == pytest.approx(1 / (0.05 + 139 / 400))
    assert (sound_asked(NARROW), sound_asked(WIDE)) == (8.0, 10.0)


def test_bfloat16_is_used_only_where_its_peak_was_measured() -> None:
    assert (NARROW.precision, NARROW.peak) == (torch.float32, 150e9)
    assert (WIDE.precision, WIDE.peak) == (torch.bfloat16, 400e9)


def test_measured_limits_leave_out_bfloat16_where_it_is_emulated() -> None:
    threads = torch.get_num_threads()
    limits = measure_limits(seconds=0.0)
    assert min(limits.float32_peak, limits.read_one, limits.read_all) > 1e6
    assert (limits.bfloat16_peak is not None) == computes_in_bfloat16()
    assert torch.get_num_threads() == threads


def test_row_is_met_from_its_target_on() -> None:
    row = Row(2.0, 6.0, "ms", ratio=3.0, asked=3.5, limit_ratio=4.0, share=0.75)
    assert (row.target, row.limit_share, row.met) == (3.0, 0.75, True)
    assert not replace(row, share=0.76).met
    assert replace(row, ratio=2.9).to_json()["met"] is False
    assert replace(row, limit_ratio=None).limit_share is None


def test_interleave_calls_in_turns_three_times_at_least() -> None:
    calls: list[str] = []
    times = interleave(lambda: calls.append("a"), lambda: calls.append("b"), seconds=0.0)
    assert calls == ["a", "b"] * 4  # the first turn is not timed
    assert [len(each) for each in times] == [3, 3]


@pytest.mark.parametrize(
    ("ours", "baseline", "expected"),
    [
        ([1.0] * 9, [2.0] * 9, False),  # too few
        ([1.0] * 10, [2.0] * 10, True),
        ([1.0, 2.0] * 10, [2.0, 4.0] * 10, True),  # both were slowed: their ratio was not
        ([1.0, 2.0] * 10, [2.0, 2.0] * 10, False),
    ],
)
def test_settled_looks_at_the_ratio(ours: list[float], baseline: list[float], expected: bool) -> None:
    assert settled([ours, baseline]) is expected


def test_machine_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    machine = describe_machine()
    assert all(machine[name] for name in ("processor", "cores", "threads", "instruction_sets", "numba_cpu"))
    assert machine["torch_capability"] == torch.backends.cpu.get_cpu_capability()
    assert machine["restrictions"]["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert json.loads(json.dumps(machine)) == machine
    assert machine["processor"] in machine_lines(machine)
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in machine_lines(machine)


def test_brand_is_the_first_processors(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    assert _brand(path) == ""
    path.write_text("processor\t: 0\nmodel\t\t: 1\nmodel name\t: A: B 7\nmodel name\t: other\n")
    assert _brand(path) == "A: B 7"


@pytest.mark.parametrize("limits", [NARROW, WIDE])
def test_names_of_rows_are_unique_and_say_which_arithmetic_is_used(limits: Limits) -> None:
    names = [case.name for case in all_cases(limits)]
    assert len({*names}) == len(names)
    assert any("bfloat16" in name for name in names if "decode 2 s" in name) == (limits is WIDE)
    assert any("Muon" in name for name in names) == (limits is NARROW)


def test_select_takes_names_with_any_of_the_words() -> None:
    cases = all_cases(NARROW)
    assert select(cases, []) == cases
    chosen = select(cases, ["MUON", "ring"])
    assert {case.name for case in chosen} == {
        name for name in (case.name for case in cases) if "Muon" in name or "ring" in name
    }
    assert 0 < len(chosen) < len(cases)
    assert select(cases, ["no such row"]) == []


def test_measure_keeps_what_there_is_when_it_is_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def stop() -> Row:
        raise KeyboardInterrupt

    cases = [Case("first", _constant(3.0)), Case("second", stop)]
    with pytest.raises(KeyboardInterrupt):
        measure(cases, {"processor": "any"}, NARROW, tmp_path / "new" / "latest.json")
    written = json.loads((tmp_path / "new" / "latest.json").read_text())
    assert [row["name"] for row in written["rows"]] == ["first"]
    assert written["machine"] == {"processor": "any"}
    assert written["limits"]["bfloat16_peak"] is None
    out = capsys.readouterr().out
    assert out.index("[1/2] first") < out.index("[2/2] second")


def test_tables_have_every_row_and_mark_those_that_are_met(tmp_path: Path) -> None:
    cases = [Case("good", _constant(3.0)), Case("bad", _constant(2.0))]
    results = measure(cases, {"processor": "any"}, WIDE, tmp_path / "latest.json")
    lines = [line for line in to_markdown(results).splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert "| **3.00** |" in lines[2] and "| yes |" in lines[2]
    assert "| 2.00 |" in lines[3] and "| no |" in lines[3]
    assert "good" in to_text(results) and "**" not in to_text(results)


def test_only_with_an_unknown_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--onyl", "ring"])
    assert "--onyl" in capsys.readouterr().err


def _constant(ratio: float) -> Callable[[], Row]:
    return lambda: Row(1.0, ratio, "ms", ratio, asked=2.5, note="a note")
