"""A signal that asks for an end is obeyed at a safe moment, and handlers are left as they were."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from dacformer.signals import STOP_SIGNALS, StopRequest, ending_cleanly


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture
def received() -> Iterator[list[int]]:
    """Handlers of a caller's own, which list what came."""
    numbers: list[int] = []
    before = {each: signal.signal(each, lambda number, _: numbers.append(number)) for each in STOP_SIGNALS}
    own = {each: signal.getsignal(each) for each in STOP_SIGNALS}
    yield numbers
    assert {each: signal.getsignal(each) for each in STOP_SIGNALS} == own, "handlers were not restored"
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_ending_cleanly_runs_cleanup_and_exits_with_128_and_the_number(received: list[int], number: int) -> None:
    cleaned = []
    with pytest.raises(SystemExit) as stopped, ending_cleanly():
        try:
            send(number)
        finally:
            cleaned.append(True)
    assert stopped.value.code == 128 + number and cleaned and not received


class Finalized:
    """Sends a signal when it is freed, where Python swallows what its handler raises."""

    def __del__(self) -> None:
        send(signal.SIGTERM)


@pytest.mark.usefixtures("received")
def test_ending_cleanly_ends_although_a_finalizer_swallowed_the_exit() -> None:
    usual = sys.unraisablehook
    with pytest.raises(SystemExit) as stopped, ending_cleanly():
        Finalized()
        for _ in range(500):
            time.sleep(0.01)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert sys.unraisablehook is usual


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_stop_request_notes_the_first_signal_and_hands_it_on_at_the_end(received: list[int], number: int) -> None:
    stop = StopRequest()
    with stop.listening():
        send(number)
        send(signal.SIGINT)
        assert stop.signal == number and received == []
    assert received == [number]


def test_stop_request_does_not_raise_keyboard_interrupt_at_the_end(received: list[int]) -> None:
    mine = signal.signal(signal.SIGINT, signal.default_int_handler)
    stop = StopRequest()
    with stop.listening():
        send(signal.SIGINT)
    assert stop.signal == signal.SIGINT
    signal.signal(signal.SIGINT, mine)


def test_interruptible_is_broken_off_and_the_rest_is_not(received: list[int]) -> None:
    stop, reached = StopRequest(), []
    with stop.listening():
        with stop.interruptible():
            send(signal.SIGTERM)
            reached.append("behind the signal")
        send(signal.SIGTERM)
        reached.append("end")
    assert reached == ["end"] and stop.signal == signal.SIGTERM


def test_what_is_ignored_stays_ignored(received: list[int]) -> None:
    """As `nohup` has it."""
    mine = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = StopRequest()
    with ending_cleanly(), stop.listening():
        send(signal.SIGHUP)
    assert stop.signal is None and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    signal.signal(signal.SIGHUP, mine)


def test_another_thread_sets_no_handlers(received: list[int]) -> None:
    raised: list[BaseException] = []

    def work() -> None:
        try:
            with ending_cleanly(), StopRequest().listening():
                assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, None)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not raised
