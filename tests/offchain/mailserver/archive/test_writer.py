import asyncio
import threading

import pytest

from offchain.errors import StorageError
from offchain.mailserver.archive.writer import ArchiveWriter
from tests.support.mailserver import MARCH, sample, until


class FakeArchive:
    """Remembers commits; a commit can be held up, or fail."""

    def __init__(self):
        self.commits = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.failure = None

    def add_many(self, envelopes):
        self.entered.set()
        self.gate.wait(10)
        if self.failure:
            raise self.failure
        known = {each.hash for commit in self.commits for each in commit}
        self.commits.append(list(envelopes))
        return [each.hash not in known for each in envelopes]


@pytest.fixture
def archive():
    return FakeArchive()


async def test_tells_each_caller_of_its_own_envelopes(archive):
    writer = ArchiveWriter(archive)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        assert await writer.add([sample(MARCH, 1)]) == [True]
        first, second = await asyncio.gather(
            writer.add([sample(MARCH, 1), sample(MARCH, 2)]), writer.add([sample(MARCH, 3)])
        )
        await writer.stop()

    assert (first, second) == ([False, True], [True])


async def test_what_arrives_during_a_commit_goes_into_the_next(archive):
    writer = ArchiveWriter(archive)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        archive.gate.clear()
        waiting = [tasks.create_task(writer.add([sample(MARCH, 0)]))]
        await until(archive.entered.is_set)
        waiting += [tasks.create_task(writer.add([sample(MARCH, n)])) for n in range(1, 50)]
        await until(lambda: len(writer._jobs) == 49)
        archive.gate.set()
        assert [await each for each in waiting] == [[True]] * 50
        await writer.stop()

    assert [len(commit) for commit in archive.commits] == [1, 49]
    assert writer.commits == 2


async def test_a_commit_is_bounded(archive):
    writer = ArchiveWriter(archive, max_commit=10)
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(writer.add([sample(MARCH, 2 * n), sample(MARCH, 2 * n + 1)])) for n in range(12)]
        await asyncio.sleep(0)
        tasks.create_task(writer.run())
        await asyncio.gather(*waiting)
        await writer.stop()

    assert [len(commit) for commit in archive.commits] == [10, 10, 4]


async def test_callers_wait_before_too_much_waits(archive):
    one = sample(MARCH, 1)
    writer = ArchiveWriter(archive, max_waiting=3 * len(one.raw))
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(writer.add([sample(MARCH, n)])) for n in range(10)]
        for _ in range(20):
            await asyncio.sleep(0)
        taken = len(writer._jobs)
        tasks.create_task(writer.run())
        await asyncio.gather(*waiting)
        await writer.stop()

    assert taken == 3
    assert sum(map(len, archive.commits)) == 10


async def test_a_failed_commit_is_told_to_those_in_it_and_the_next_may_succeed(archive):
    writer = ArchiveWriter(archive)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        archive.failure = StorageError("the disk is full")
        with pytest.raises(StorageError, match="full"):
            await writer.add([sample(MARCH, 1)])
        archive.failure = None
        assert await writer.add([sample(MARCH, 1)]) == [True]
        await writer.stop()


async def test_stores_what_it_took_before_it_stops_and_takes_no_more(archive):
    writer = ArchiveWriter(archive)
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(writer.add([sample(MARCH, n)])) for n in range(5)]
        await asyncio.sleep(0)
        await writer.stop()
        tasks.create_task(writer.run())
        assert [await each for each in waiting] == [[True]] * 5
        with pytest.raises(StorageError, match="stopping"):
            await writer.add([sample(MARCH, 9)])


async def test_nobody_waits_for_ever_when_the_writer_dies(archive):
    writer = ArchiveWriter(archive)
    archive.failure = MemoryError()
    waiting = asyncio.ensure_future(writer.add([sample(MARCH, 1)]))
    await asyncio.sleep(0)

    with pytest.raises(MemoryError):
        await writer.run()
    with pytest.raises(StorageError, match="stopped"):
        await waiting


async def test_a_caller_that_gave_up_does_not_disturb_the_others(archive):
    writer = ArchiveWriter(archive)
    async with asyncio.TaskGroup() as tasks:
        impatient = asyncio.ensure_future(writer.add([sample(MARCH, 1)]))
        patient = tasks.create_task(writer.add([sample(MARCH, 2)]))
        await asyncio.sleep(0)
        impatient.cancel()
        tasks.create_task(writer.run())
        assert await patient == [True]
        await writer.stop()
