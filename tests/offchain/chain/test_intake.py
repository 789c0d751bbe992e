"""What a backfill brings is checked, taken in and written down, in this order and one step apart."""

import pytest

from offchain.chain.checkpoint import Checkpoint, Identity
from offchain.chain.commitment import MissingEventError
from offchain.chain.events import plain_log
from offchain.chain.facts import FactsError
from offchain.chain.header import Header
from offchain.chain.intake import LARGE, Intake
from offchain.chain.ledger import Chunk, Ledger
from offchain.chain.native import native
from offchain.errors import StorageError
from tests.support.chain import CURATOR, REGISTRY, FakeChain, node_ids, nodes_added, nodes_removed, packed

IDENTITY = Identity(31337, REGISTRY, 1, frozenset({CURATOR}))


class Scene:
    """A chain of a few blocks, a ledger and its database."""

    def __init__(self, path):
        self.path = path
        self.chain = FakeChain.started()
        self.first = self.chain.head.number + 1
        self.ledger = Ledger(REGISTRY, [CURATOR], self.first)
        self.ledger.base_commitment = self.ledger.stage_commitment = self.chain.head.commitment
        self.checkpoint = Checkpoint(path, IDENTITY)
        self.intake = Intake(self.ledger, self.checkpoint)

    def mine(self, *events):
        """A block, and the chunk that it is."""
        block = self.chain.mine(*events)
        return Chunk(block.number, block.number, tuple(plain_log(log) for log in block.logs))

    def written(self):
        """The block up to which the database goes, and the nodes that are listed there."""
        saved = self.checkpoint.load()
        if saved.staged is None:
            return None
        return saved.staged.block, {each.node_id for each in saved.stage.listings.values() if each is not None}


@pytest.fixture
def scene(tmp_path):
    scene = Scene(tmp_path / "chain.sqlite")
    with scene.checkpoint:
        yield scene


async def test_what_was_taken_in_is_written_with_the_next_or_at_the_end(scene):
    one, two = scene.mine(nodes_added(1, node_ids(1))), scene.mine(nodes_added(1, node_ids(2)))

    assert await scene.intake.take([one], None) == 1
    assert (scene.ledger.stage_block, scene.written()) == (one.last, None)

    assert await scene.intake.take([two], None) == 1
    assert scene.written() == (one.last, set(node_ids(1)))

    scene.intake.flush()
    assert scene.written() == (two.last, set(node_ids(1, 2)))


async def test_flushing_twice_writes_once(scene):
    chunk = scene.mine(nodes_added(1, node_ids(1)))
    await scene.intake.take([chunk], None)

    scene.intake.flush()
    scene.intake.flush()

    assert scene.written() == (chunk.last, set(node_ids(1)))


in_c = pytest.mark.skipif(native is None, reason="the C code is not built")


@pytest.mark.parametrize("read_in_c", [False, pytest.param(True, marks=in_c)])
async def test_chunks_that_arrived_together_are_one_step(scene, read_in_c):
    chunks = [
        scene.mine(nodes_added(1, node_ids(1)), nodes_added(1, node_ids(2))),
        scene.mine(nodes_removed(1, node_ids(1))),
        scene.mine(nodes_added(1, node_ids(3)), nodes_added(1, node_ids(1))),
        scene.mine(nodes_removed(1, node_ids(2))),
    ]
    if read_in_c:
        chunks = [Chunk(chunk.first, chunk.last, packed(chunk.logs)) for chunk in chunks]

    end = Header(chunks[-1].last, scene.chain.head.hash, bytes(32), 0, bytes(32))

    assert await scene.intake.take(chunks, end) == 6
    scene.intake.flush()

    assert scene.ledger.stage_commitment == scene.chain.head.commitment
    assert scene.written() == (chunks[-1].last, set(node_ids(1, 3)))
    assert scene.checkpoint.load().staged.header == end
    assert list(scene.checkpoint.load().stage.all_removals()) == list(scene.ledger.stage.all_removals())


async def test_a_large_chunk_is_dealt_with_in_a_thread_and_alike(scene):
    events = [nodes_added(1, node_ids(number)) for number in range(1, LARGE + 3)]
    one, two = scene.mine(*events[:-1]), scene.mine(events[-1])

    await scene.intake.take([one], None)
    await scene.intake.take([two], None)
    scene.intake.flush()

    assert scene.ledger.stage_commitment == scene.chain.head.commitment
    assert scene.written() == (two.last, set(node_ids(*range(1, LARGE + 3))))


async def test_what_came_before_a_chunk_that_cannot_be_right_is_written(scene):
    one = scene.mine(nodes_added(1, node_ids(1)))
    two = scene.mine(nodes_added(1, node_ids(2)), nodes_added(1, node_ids(3)))
    await scene.intake.take([one], None)

    with pytest.raises(MissingEventError):
        await scene.intake.take([Chunk(two.first, two.last, two.logs[1:])], None)
    scene.intake.flush()

    assert (scene.ledger.stage_block, scene.written()) == (one.last, (one.last, set(node_ids(1))))


async def test_nothing_of_chunks_that_contradict_each_other_is_written(scene):
    one, two = scene.mine(nodes_added(1, node_ids(1))), scene.mine(nodes_added(1, node_ids(1)))

    with pytest.raises(FactsError):
        await scene.intake.take([one, two], None)
    scene.intake.flush()

    assert (scene.ledger.stage_block, scene.written()) == (scene.first - 1, None)


async def test_a_database_that_cannot_be_written_is_an_error_with_the_next_step(scene):
    one, two = scene.mine(nodes_added(1, node_ids(1))), scene.mine(nodes_added(1, node_ids(2)))
    await scene.intake.take([one], None)
    scene.checkpoint._db.execute("PRAGMA query_only = 1")

    with pytest.raises(StorageError):
        await scene.intake.take([two], None)
    scene.intake.flush()

    assert scene.written() is None
