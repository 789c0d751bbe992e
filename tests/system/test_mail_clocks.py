"""Clocks that are wrong, end to end: real mail servers over TCP, a client whose time of day is an argument."""

import pytest

from offchain.client.history import Finished, ServerFailed
from offchain.client.mailbox import Mail, Undeliverable
from tests.support.mail_stage import Clock, staged

HOURS = 3 * 3_600


@pytest.mark.parametrize(("off", "said"), [(HOURS, "ahead"), (-HOURS, "behind")])
async def test_a_client_whose_clock_is_wrong_is_told_so_and_recovers_when_it_is_set(tmp_path, off, said):
    async with staged(tmp_path, Clock(), Clock(), Clock()) as stage:
        stage.client_clock.off = off
        wrong = await stage.read()
        notice = stage.mailbox.clock.notice

        stage.client_clock.off = 0.0
        await stage.ready(2)
        await stage.post(b"now it works")
        right = await stage.read()
        after = stage.mailbox.clock.notice

    assert wrong[-1].complete is False
    assert f"clock seems to be {said}" in notice
    assert right[-1].complete
    assert len([event for event in right if isinstance(event, Mail)]) == 1
    assert after is None


async def test_what_a_client_with_a_wrong_clock_sends_is_refused_in_words(tmp_path):
    async with staged(tmp_path, Clock(), Clock()) as stage:
        stage.client_clock.off = HOURS
        with pytest.raises(Undeliverable, match="sent in the future"):
            await stage.post(b"from tomorrow")
        notice = stage.mailbox.clock.notice

    assert "ahead" in notice


async def test_a_server_whose_clock_is_wrong_is_left_and_we_are_not_accused(tmp_path):
    async with staged(tmp_path, Clock(-HOURS), Clock(), Clock()) as stage:
        wrong = stage.keys[0].public.node_id
        await stage.post(b"hello")  # to two that agree with us; the third refuses, if it is asked
        failed, complete = [], []
        for _ in range(12):  # each begins with a random one
            events = await stage.read()
            failed += [event.node_id for event in events if isinstance(event, ServerFailed)]
            complete += [event.complete for event in events if isinstance(event, Finished)]
            await stage.ready(2)
        notice = stage.mailbox.clock.notice

    assert all(complete)
    assert set(failed) <= {wrong}
    assert notice is None


@pytest.mark.parametrize("off", [25.0, -25.0])
async def test_half_a_minute_is_no_reason_to_lose_anything(tmp_path, off):
    """25 seconds off is what was seen in the field: requests are still valid, and nothing near now is left out."""
    async with staged(tmp_path, Clock(), Clock()) as stage:
        await stage.post(b"hello")
        stage.client_clock.off = off
        events = await stage.read()

    assert events[-1].complete
    assert len([event for event in events if isinstance(event, Mail)]) == 1
