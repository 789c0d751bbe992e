"""A broadcast: everybody hears everything, and nobody waits for anybody."""

from offchain.client import broadcast
from offchain.client.broadcast import Broadcast


async def test_every_listener_hears_every_event_in_order():
    events = Broadcast()
    with events.listen() as first, events.listen() as second:
        for number in range(5):
            events.publish(number)
        events.close()

        assert [event async for event in first] == [0, 1, 2, 3, 4]
        assert [event async for event in second] == [0, 1, 2, 3, 4]


async def test_a_slow_listener_loses_the_oldest_and_can_tell(monkeypatch):
    monkeypatch.setattr(broadcast, "LISTENER_QUEUE", 3)
    events = Broadcast()
    with events.listen() as listener:
        for number in range(5):
            events.publish(number)
        events.close()

        assert [event async for event in listener] == [2, 3, 4]
        assert listener.missed == 2


async def test_who_comes_late_hears_nothing_old_but_can_look():
    events = Broadcast()
    events.publish("before")
    with events.listen() as listener:
        events.publish("after")
        events.close()

        assert [event async for event in listener] == ["after"]
        assert events.recent == ["before", "after"]


async def test_listening_after_the_end_ends_at_once():
    events = Broadcast()
    events.close()

    with events.listen() as listener:
        assert [event async for event in listener] == []
