import asyncio

from offchain.mailserver.outbox import SEND_BYTES, Outbox
from offchain.whisper.envelope import Envelope


def mail(number, size=100):
    return Envelope.create(1000, 50, b"abcd", number.to_bytes(4, "big") * (size // 4))


async def test_gives_each_envelope_once_in_order():
    outbox = Outbox()
    for number in (1, 2, 1, 3, 2):
        assert outbox.put(mail(number))

    assert await outbox.take() == [mail(1), mail(2), mail(3)]
    assert len(outbox) == 0


async def test_what_the_other_has_already_is_not_sent():
    outbox = Outbox()
    outbox.put(mail(1))
    outbox.put(mail(2))
    outbox.discard(mail(1).hash)
    outbox.discard(b"unknown")

    assert await outbox.take() == [mail(2)]


async def test_waits_for_the_first():
    outbox = Outbox()
    taking = asyncio.ensure_future(outbox.take())
    await asyncio.sleep(0)
    assert not taking.done()

    outbox.put(mail(1))

    assert await taking == [mail(1)]


async def test_is_bounded_and_has_room_again_when_something_is_taken():
    outbox = Outbox(max_bytes=3 * len(mail(1).raw))
    assert [outbox.put(mail(number)) for number in range(5)] == [True, True, True, False, False]

    await outbox.take()

    assert outbox.put(mail(9))


async def test_gives_about_a_packet_at_a_time():
    outbox = Outbox()
    for number in range(10):
        outbox.put(mail(number, SEND_BYTES // 3))

    assert [len(await outbox.take()) for _ in range(4)] == [3, 3, 3, 1]
