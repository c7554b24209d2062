"""A few people at the served app, without a browser: nothing fails or is lost, and a closed tab frees the server."""

import asyncio
import time

import psutil
import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from bench.page import nothing_kept
from bench.soak import Person, Seen, Tab, percentile, server_of, small_models, soak_served, table_of
from tests.browsing import served

CLOSED = 15.0


def busy(server: psutil.Process, seconds: float) -> float:
    """The share of so many seconds that a process computes."""
    before = sum(server.cpu_times()[:2])
    time.sleep(seconds)
    return (sum(server.cpu_times()[:2]) - before) / seconds


@pytest.mark.slow
def test_three_people_use_the_app_at_once_and_nothing_fails_or_is_lost():
    found = soak_served(people=3, seconds=8, real=False)
    assert found.faults == []
    assert found.seen.acts["come"] >= 3
    assert sum(found.seen.acts.values()) > 6
    assert found.memory and table_of(found).row_count >= 5


@pytest.mark.slow
def test_a_closed_tab_frees_the_server_within_fifteen_seconds():
    async def leave_in_the_middle(address: str, model: str) -> None:
        person = Person(address, [model], Seen(), 0, iter([0]))
        tab = await person.come()
        await tab.set("Model", "string_value", model)
        await tab.set("Text", "string_value", "a long text, read to its end by nobody " * 12)
        await tab.until(lambda: tab.has("Run"), "Run")
        await tab.press("Run")
        await tab.until(lambda: "predictions found" in tab.said(), "its first batch")
        await asyncio.sleep(2)
        assert "predictions found" in tab.said()
        await person.drop()

    with small_models() as models, nothing_kept() as place:
        with served(place / "log.txt", DENSITY_HOME=str(place)) as address:
            asyncio.run(leave_in_the_middle(address, models[0]))
            left, server = time.monotonic(), server_of()
            assert busy(server, 1) > 0.2
            while busy(server, 1) > 0.2:
                assert time.monotonic() < left + CLOSED
        assert "Traceback" not in (place / "log.txt").read_text(encoding="utf-8")


def test_a_percentile_is_one_of_the_values():
    assert [percentile([3.0, 1.0, 2.0], share) for share in (0.3, 0.5, 0.95)] == [1.0, 2.0, 3.0]
    assert percentile(range(1, 101), 0.95) == 95


class Silence:
    """A connection on which nothing comes."""

    def __aiter__(self):
        return self

    async def __anext__(self):
        await asyncio.Event().wait()

    async def close(self):
        pass


def test_a_fragment_that_is_gone_is_asked_for_no_longer_and_the_others_are():
    async def polled() -> list[str]:
        tab = Tab(Silence(), Seen())
        for fragment in ("what is measured", "what is gone"):
            message = ForwardMsg()
            message.auto_rerun.fragment_id, message.auto_rerun.interval = fragment, 60
            tab._take(message)
        message = ForwardMsg()
        message.stop_auto_rerun.fragment_ids.append("what is gone")
        tab._take(message)
        left = list(tab._polls)
        await tab.close()
        return left

    assert asyncio.run(polled()) == ["what is measured"]
