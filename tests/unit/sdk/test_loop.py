"""The loop in the background: results, errors, interruption."""

import asyncio
import signal
import threading

import pytest

from trustnode.errors import TrustnodeError, error
from trustnode.sdk import loop


async def one():
    return 1


def test_a_result_comes_back():
    assert loop.run(one()) == 1


def test_an_error_comes_back_as_it_was():
    async def fail():
        raise error("DENIED", "no")

    with pytest.raises(TrustnodeError) as caught:
        loop.run(fail())
    assert caught.value.reason == "DENIED"


@pytest.fixture
def interruptible():
    # A shell that runs tests in the background has SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_lets_the_work_settle_before_it_is_raised():
    settled = []

    async def work():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            settled.append(True)
            raise

    with pytest.raises(KeyboardInterrupt):
        loop.run(work())
    assert settled == [True]


def test_a_blocking_call_on_the_loop_itself_is_refused_rather_than_waiting_for_ever():
    async def nested():
        return loop.run(one())

    with pytest.raises(TrustnodeError) as caught:
        loop.run(nested())
    assert caught.value.reason == "USAGE"


def test_leaving_an_iteration_closes_its_source():
    closed = []

    async def source():
        try:
            for number in range(10):
                yield number
        finally:
            closed.append(True)

    numbers = loop.iterate(source())
    assert next(numbers) == 0
    numbers.close()
    assert closed == [True]


def test_every_thread_may_block_on_the_same_loop():
    found = []
    threads = [threading.Thread(target=lambda: found.append(loop.run(one()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 8
