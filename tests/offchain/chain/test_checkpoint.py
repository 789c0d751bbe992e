"""The checkpoint: what was written is there again, whenever the process died; nothing foreign is touched."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from offchain.chain import checkpoint as checkpoints
from offchain.chain.checkpoint import Checkpoint, Doubt, Identity, Proven, Staged
from offchain.chain.commitment import Commitment
from offchain.chain.events import plain_log
from offchain.chain.facts import Enr, Facts
from offchain.chain.header import Header
from offchain.chain.ledger import Block, Chunk, Ledger
from offchain.errors import StorageError
from offchain.types import MAILSERVER
from tests.support.chain import (
    ADMIN,
    CHAIN_ID,
    CURATOR,
    LATER,
    OTHER_CURATOR,
    REGISTRY,
    FakeChain,
    Said,
    events,
    node_id,
    node_ids,
    nodes_added,
    nodes_removed,
    nodes_renewed,
    verdict_changed,
)

ROOT = Path(__file__).parents[3]
IDENTITY = Identity(CHAIN_ID, REGISTRY, 1, frozenset({CURATOR}))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "chain.sqlite"


@pytest.fixture
def chain():
    """A chain with something of everything."""
    chain = FakeChain.started()
    chain.mine(nodes_added(1, node_ids(1, 2, 3)), nodes_added(2, node_ids(4, 5)))
    chain.mine(nodes_removed(1, node_ids(2)), nodes_renewed(1, node_ids(3), expires_at=LATER + 7))
    chain.mine(
        Said(REGISTRY, events.OperatorSet, (1, ADMIN), ("bool",), (True,)),
        Said(REGISTRY, events.NodeEnr, (node_id(1)[12:],), ("uint64", "bytes"), (2**64 - 1, b"record")),
        Said(REGISTRY, events.AdditionsPaused, (), ("uint256",), (LATER,)),
        verdict_changed(2, 2, kind=1, until=2**64 - 1, weight=2**128 - 1),
    )
    chain.pass_blocks(1)
    return chain


def header_of(block):
    return Header(
        block.number,
        block.hash,
        bytes.fromhex(block.header["parentHash"][2:]),
        int(block.header["timestamp"], 16),
        bytes.fromhex(block.header["stateRoot"][2:]),
    )


def logs_of(chain, first, last):
    return tuple(plain_log(log) for block in chain.blocks[first : last + 1] for log in block.logs)


def new_ledger():
    return Ledger(REGISTRY, [CURATOR], 1)


def stage(chain, ledger, checkpoint, first, last):
    """Take in final blocks as a chunk, without a proof."""
    layer = ledger.add_chunk(Chunk(first, last, logs_of(chain, first, last)))
    checkpoint.add_stage(layer, Staged(last, ledger.stage_commitment.word, header_of(chain.blocks[last])))


def sync(chain, ledger, checkpoint, first, last, upto_head=()):
    """Take in final blocks as a chunk, have them proven, and put single blocks on top."""
    stage(chain, ledger, checkpoint, first, last)
    _, absorbed = ledger.proven(last, last)
    proven = Proven(last, chain.blocks[last].hash, 1_234.5)
    checkpoint.prove(absorbed, header_of(chain.blocks[last]), ledger.base_commitment, proven)
    for number in upto_head:
        block = ledger.make_block(header_of(chain.blocks[number]), logs_of(chain, number, number), ledger.commitment)
        ledger.switch(0, [block])
        checkpoint.switch(number - 1, [block])


def alter(path, statement):
    """Change a database behind the checkpoint's back."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)


def ask(path, query):
    """Read a database behind the checkpoint's back."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


def fill(checkpoint, draw):
    """Add layers until there is no room."""
    for number in range(4, 400):
        layer = Facts()
        layer.enrs = {draw.randbytes(20): Enr(1, draw.randbytes(300)) for _ in range(100)}
        checkpoint.add_stage(layer, Staged(number, bytes(32)))


def contents(facts):
    """Everything in a layer without one below it."""
    return (
        facts.listings,
        facts.removals,
        facts.verdicts,
        facts.providers,
        facts.kinds,
        facts.operators,
        facts.enrs,
        facts.settings(),
    )


def test_a_new_database_is_empty(path):
    with Checkpoint(path, IDENTITY) as checkpoint:
        saved = checkpoint.load()

    assert contents(saved.base) == contents(Facts())
    assert (saved.base_header, saved.proven, saved.staged, saved.blocks) == (None, None, None, [])


def test_everything_proven_is_there_again(path, chain):
    ledger = new_ledger()
    with Checkpoint(path, IDENTITY) as checkpoint:
        sync(chain, ledger, checkpoint, 1, 6)

    with Checkpoint(path, IDENTITY) as checkpoint:
        saved = checkpoint.load()

    assert contents(saved.base) == contents(ledger.base)
    assert saved.base_header == header_of(chain.blocks[6])
    assert saved.commitment == chain.blocks[6].commitment
    assert saved.proven == Proven(6, chain.blocks[6].hash, 1_234.5)


def test_layers_add_up_to_the_facts_and_are_joined_as_they_come(path, chain):
    ledger = new_ledger()
    with Checkpoint(path, IDENTITY) as checkpoint:
        sync(chain, ledger, checkpoint, 1, 6)
        steps = [
            [nodes_renewed(1, node_ids(1), expires_at=LATER + 7)],
            [nodes_removed(1, node_ids(1, 3)), nodes_added(2, node_ids(1, 6, 7))],
            [nodes_removed(2, node_ids(4, 5)), nodes_added(1, node_ids(4))],
            [nodes_renewed(2, node_ids(6), expires_at=LATER + 8)],
            [nodes_renewed(2, node_ids(7), expires_at=LATER + 8)],
        ]
        chain.drop(1)
        for said in steps:
            block = chain.mine(*said)
            sync(chain, ledger, checkpoint, block.number, block.number)
            assert contents(checkpoint.load().base) == contents(ledger.base)

    assert ask(path, "SELECT count(*) < 4, max(last) FROM layer") == [(1, ledger.base_block)]


def test_what_is_no_longer_so_is_left_out_when_it_has_become_most(path, chain, monkeypatch):
    monkeypatch.setattr(checkpoints, "JOINED", 0)
    ledger, many = new_ledger(), node_ids(*range(10, 710))
    with Checkpoint(path, IDENTITY) as checkpoint:
        sync(chain, ledger, checkpoint, 1, 6)
        chain.drop(1)
        for _ in range(3):
            for said in (nodes_added(1, many), nodes_removed(1, many)):
                block = chain.mine(said)
                sync(chain, ledger, checkpoint, block.number, block.number)
        assert contents(checkpoint.load().base) == contents(ledger.base)
        assert contents(checkpoint.load().base) == contents(ledger.base)

    assert ask(path, "SELECT count(*), max(last) FROM layer") == [(1, ledger.base_block)]


def test_what_is_pending_is_there_again(path, chain):
    ledger = new_ledger()
    with Checkpoint(path, IDENTITY) as checkpoint:
        sync(chain, ledger, checkpoint, 1, 3, upto_head=(4, 5))
        checkpoint.switch(4, [])

    with Checkpoint(path, IDENTITY) as checkpoint:
        saved = checkpoint.load()

    assert [header for header, _ in saved.blocks] == [header_of(chain.blocks[4])]
    assert saved.blocks[0][1] == logs_of(chain, 4, 4)


def test_blocks_are_taken_back_together_with_whom_that_withholds_until_the_doubt_ends(path, chain):
    ledger, doubt, names = (
        new_ledger(),
        Doubt(5, 7.5, b"policy"),
        [(MAILSERVER, node_id(number)) for number in range(3)],
    )
    with Checkpoint(path, IDENTITY) as checkpoint:
        sync(chain, ledger, checkpoint, 1, 3, upto_head=(4, 5))
        assert checkpoint.load().doubt is None
        checkpoint.take_back(4, doubt, names[:2])
        checkpoint.keep_doubt(doubt, names)

    with Checkpoint(path, IDENTITY) as checkpoint:
        saved = checkpoint.load()
        assert [header for header, _ in saved.blocks] == [header_of(chain.blocks[4])]
        assert (saved.doubt, sorted(saved.withheld)) == (doubt, sorted(names))
        checkpoint.end_doubt()

    with Checkpoint(path, IDENTITY) as checkpoint:
        saved = checkpoint.load()
        assert (saved.doubt, saved.withheld) == (None, [])


def test_final_blocks_that_were_not_proven_are_there_again(path, chain):
    ledger = new_ledger()
    with Checkpoint(path, IDENTITY) as checkpoint:
        sync(chain, ledger, checkpoint, 1, 3)
        stage(chain, ledger, checkpoint, 4, 4)
        stage(chain, ledger, checkpoint, 5, 6)
        saved = checkpoint.load()
        again = new_ledger()
        again.restore(saved.base, saved.base_header.number, saved.commitment)
        again.restore_stage(saved.stage, saved.staged.block, Commitment.from_word(saved.staged.commitment))

        assert saved.staged.header == header_of(chain.blocks[6])
        assert (again.stage_block, again.stage_commitment) == (6, chain.blocks[6].commitment)
        assert contents(again.stage) == contents(ledger.stage)
        assert contents(again.base) == contents(ledger.base)
        assert again.head.listing(node_id(2)[12:]) is None


@pytest.mark.parametrize("how", ["discarded", "taken back", "a curator is gone"])
def test_of_final_blocks_that_were_not_proven_nothing_stays_but_what_is(path, chain, how):
    ledger, identity = new_ledger(), IDENTITY
    with Checkpoint(path, IDENTITY) as checkpoint:
        sync(chain, ledger, checkpoint, 1, 3)
        before = contents(checkpoint.load().base)
        stage(chain, ledger, checkpoint, 4, 6)
        if how == "discarded":
            checkpoint.discard_pending()
        elif how == "taken back":
            checkpoint.take_back(3, Doubt(0))
        else:
            identity = Identity(CHAIN_ID, REGISTRY, 1)

    with Checkpoint(path, identity) as checkpoint:
        saved = checkpoint.load()

    assert (saved.staged, contents(saved.stage)) == (None, contents(Facts()))
    if how != "a curator is gone":
        assert contents(saved.base) == before


def test_small_layers_of_a_long_backfill_are_joined_but_never_with_what_is_proven(path, chain):
    ledger = new_ledger()
    with Checkpoint(path, IDENTITY) as checkpoint:
        sync(chain, ledger, checkpoint, 1, 3)
        chain.drop(4)
        for number in range(20):
            block = chain.mine(nodes_added(1, node_ids(100 + number)))
            stage(chain, ledger, checkpoint, block.number, block.number)
        assert contents(checkpoint.load().stage) == contents(ledger.stage)

    assert ask(path, "SELECT count(*) < 6 FROM layer WHERE last > 3") == [(1,)]
    assert ask(path, "SELECT max(last) FROM layer WHERE last <= 3") == [(3,)]


@pytest.mark.parametrize(
    ("identity", "says"),
    [
        (Identity(1, REGISTRY, 1, frozenset({CURATOR})), "chain_id is 31337, expected 1"),
        (Identity(CHAIN_ID, CURATOR, 1, frozenset({CURATOR})), "registry is 0x1111"),
        (Identity(CHAIN_ID, REGISTRY, 2, frozenset({CURATOR})), "start is 1, expected 2"),
    ],
)
def test_refuses_the_database_of_another_chain_or_contract(path, chain, identity, says):
    with Checkpoint(path, IDENTITY) as checkpoint:
        sync(chain, new_ledger(), checkpoint, 1, 6)

    with pytest.raises(StorageError, match=says):
        Checkpoint(path, identity)
    with Checkpoint(path, IDENTITY) as checkpoint:
        assert checkpoint.load().base.listings


def test_reads_everything_again_for_a_new_curator(path, chain):
    with Checkpoint(path, IDENTITY) as checkpoint:
        sync(chain, new_ledger(), checkpoint, 1, 6)

    more = Identity(CHAIN_ID, REGISTRY, 1, frozenset({CURATOR, OTHER_CURATOR}))
    with Checkpoint(path, more) as checkpoint:
        saved = checkpoint.load()

    assert (saved.base.listings, saved.base.verdicts, saved.base_header, saved.proven) == ({}, {}, None, None)


def test_forgets_the_verdicts_of_a_curator_that_is_gone_and_nothing_else(path, chain):
    with Checkpoint(path, IDENTITY) as checkpoint:
        sync(chain, new_ledger(), checkpoint, 1, 6)

    with Checkpoint(path, Identity(CHAIN_ID, REGISTRY, 1)) as checkpoint:
        saved = checkpoint.load()

    assert saved.base.verdicts == {}
    assert saved.base.listings
    assert saved.proven is not None


def test_refuses_the_database_of_another_program(path):
    alter(path, "CREATE TABLE precious (value)")

    with pytest.raises(StorageError, match="another program"):
        Checkpoint(path, IDENTITY)

    assert ask(path, "SELECT count(*) FROM precious") == [(0,)]


def test_refuses_a_file_that_is_no_database(path):
    path.write_bytes(b"this is a letter, not a database" * 100)

    with pytest.raises(StorageError, match="not a database"):
        Checkpoint(path, IDENTITY)

    assert path.read_bytes().startswith(b"this is a letter")


def test_refuses_another_schema(path):
    Checkpoint(path, IDENTITY).close()
    alter(path, "PRAGMA user_version = 99")

    with pytest.raises(StorageError, match="schema 99, expected 3"):
        Checkpoint(path, IDENTITY)


def test_empties_a_database_of_an_older_schema_to_synchronise_it_again(path, chain, caplog):
    with Checkpoint(path, IDENTITY) as checkpoint:
        sync(chain, new_ledger(), checkpoint, 1, 6)
    alter(path, "PRAGMA user_version = 1")
    alter(path, "CREATE TABLE listing (block INTEGER)")

    with pytest.raises(StorageError, match="chain_id is 31337, expected 1"):
        Checkpoint(path, Identity(1, REGISTRY, 1, frozenset({CURATOR})))
    with Checkpoint(path, IDENTITY) as checkpoint:
        empty = checkpoint.load()
        sync(chain, new_ledger(), checkpoint, 1, 6)
        full = checkpoint.load()

    assert (empty.base.listings, empty.base_header, empty.proven, empty.code_hash) == ({}, None, None, None)
    assert full.base.listings
    assert "older schema 1" in caplog.text
    assert ask(path, "SELECT count(*) FROM sqlite_master WHERE name = 'listing'") == [(0,)]


def test_refuses_a_second_process(path):
    with Checkpoint(path, IDENTITY), pytest.raises(StorageError, match="in use by another process"):
        Checkpoint(path, IDENTITY)


def test_refuses_a_folder_and_a_file_that_may_not_be_made(tmp_path):
    with pytest.raises(StorageError):
        Checkpoint(tmp_path, IDENTITY)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        Checkpoint(tmp_path / "file" / "chain.sqlite", IDENTITY)


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_database_is_a_storage_error_or_holds_facts(path, chain, seed):
    with Checkpoint(path, IDENTITY) as checkpoint:
        sync(chain, new_ledger(), checkpoint, 1, 3, upto_head=(4, 5))
    draw = random.Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(20):
        content[draw.randrange(len(content))] = draw.randrange(256)
    path.write_bytes(content)

    try:
        with Checkpoint(path, IDENTITY) as checkpoint:
            checkpoint.load()
    except StorageError:
        pass


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE layer SET facts = x'00'",
        "UPDATE layer SET facts = x'04'",
        "UPDATE layer SET facts = 'x'",
        "UPDATE layer SET facts = substr(facts, 1, 40)",
        "UPDATE layer SET entries = 'x'",
        "UPDATE pending SET logs = x'00'",
        "UPDATE pending SET logs = x'c1'",
        "UPDATE pending SET header = x'00'",
        "UPDATE meta SET value = x'00' WHERE key = 'stage'",
        "DELETE FROM meta WHERE key = 'stage'",
        "UPDATE meta SET value = x'00' WHERE key = 'proven'",
        "UPDATE meta SET value = x'00' WHERE key = 'base'",
        "DELETE FROM meta WHERE key = 'commitment'",
        "DROP TABLE layer",
    ],
)
def test_rows_that_make_no_sense_are_a_storage_error(path, chain, damage):
    with Checkpoint(path, IDENTITY) as checkpoint:
        ledger = new_ledger()
        sync(chain, ledger, checkpoint, 1, 3)
        stage(chain, ledger, checkpoint, 4, 5)
        checkpoint.switch(5, [Block(header_of(chain.blocks[6]), logs_of(chain, 6, 6), (), Commitment())])
    alter(path, damage)

    with Checkpoint(path, IDENTITY) as checkpoint, pytest.raises(StorageError, match=r"delete it|cannot be used"):
        checkpoint.load()


@pytest.mark.parametrize("value", ["x'00'", "x'c1'"])
def test_a_base_that_makes_no_sense_is_a_storage_error_before_anything_is_loaded(path, chain, value):
    with Checkpoint(path, IDENTITY) as checkpoint:
        sync(chain, new_ledger(), checkpoint, 1, 3)
    alter(path, f"UPDATE meta SET value = {value} WHERE key = 'base'")

    with Checkpoint(path, IDENTITY) as checkpoint, pytest.raises(StorageError, match="is damaged"):
        checkpoint.base_header()


@pytest.mark.parametrize("damage", ["facts = x'00'", "facts = x'04'", "facts = substr(facts, 1, 40)"])
def test_a_layer_that_is_damaged_while_it_is_in_use_is_a_storage_error(path, chain, damage):
    with Checkpoint(path, IDENTITY) as checkpoint:
        ledger = new_ledger()
        stage(chain, ledger, checkpoint, 1, 3)
        checkpoint._db.execute(f"UPDATE layer SET {damage}")

        with pytest.raises(StorageError, match="is damaged"):
            stage(chain, ledger, checkpoint, 4, 5)  # Small layers are joined.


def test_final_blocks_without_facts_are_taken_back_as_well(path, chain):
    with Checkpoint(path, IDENTITY) as checkpoint:
        sync(chain, new_ledger(), checkpoint, 1, 3)
        checkpoint.add_stage(Facts(), Staged(100, bytes(32), None))

        checkpoint.take_back(100, Doubt(100))
        assert checkpoint.load().staged.block == 100

        checkpoint.take_back(3, Doubt(100))
        assert checkpoint.load().staged is None


def test_closing_waits_for_what_a_thread_writes(path):
    class Closing:
        """The connection, as it is closed."""

        def close(self):
            self.locked = checkpoint._lock.locked()

    checkpoint, closing = Checkpoint(path, IDENTITY), Closing()
    checkpoint._db.close()
    checkpoint._db = closing

    checkpoint.close()

    assert closing.locked


def test_a_full_disk_is_a_clear_error_and_the_facts_stay(path, chain):
    with Checkpoint(path, IDENTITY) as checkpoint:
        sync(chain, new_ledger(), checkpoint, 1, 3)
        before = checkpoint.load()
        pages = checkpoint._db.execute("PRAGMA page_count").fetchone()[0]
        checkpoint._db.execute(f"PRAGMA max_page_count = {pages}")

        with pytest.raises(StorageError, match="disk is full"):
            fill(checkpoint, random.Random(1))

        after = checkpoint.load()
        assert contents(after.base) == contents(before.base)
        assert after.proven == before.proven


class Crash(Exception):
    """The process dies here."""


def test_dying_at_any_statement_of_any_step_leaves_the_state_before_it_or_after_it(tmp_path, chain):
    def steps(checkpoint, ledger, until=None):
        """The states after each step; stops after `until` of them."""
        stage(chain, ledger, checkpoint, 1, 3)
        yield
        _, absorbed = ledger.proven(3, 3)
        checkpoint.prove(absorbed, header_of(chain.blocks[3]), ledger.base_commitment, Proven(3, b"", 1.0))
        yield
        blocks = []
        for number in (4, 5, 6):
            before = blocks[-1].commitment if blocks else ledger.commitment
            blocks.append(ledger.make_block(header_of(chain.blocks[number]), logs_of(chain, number, number), before))
        ledger.switch(0, blocks)
        checkpoint.switch(3, blocks)
        yield
        _, absorbed = ledger.proven(6, 5)
        checkpoint.prove(absorbed, header_of(chain.blocks[5]), ledger.base_commitment, Proven(6, b"", 2.0))
        yield

    def state(path):
        with Checkpoint(path, IDENTITY) as checkpoint:
            saved = checkpoint.load()
        base, stage = contents(saved.base), contents(saved.stage)
        return base, saved.base_header, saved.commitment, saved.proven, stage, saved.staged, saved.blocks

    allowed, clean = [], tmp_path / "clean"
    Checkpoint(clean, IDENTITY).close()
    allowed.append(state(clean))
    for count in range(1, 5):
        path = tmp_path / f"clean{count}"
        with Checkpoint(path, IDENTITY) as checkpoint:
            run = steps(checkpoint, new_ledger())
            for _ in range(count):
                next(run)
        allowed.append(state(path))

    crashes = 0
    for fatal in range(1, 200):
        path = tmp_path / f"crash{fatal}"
        checkpoint = Checkpoint(path, IDENTITY)
        checkpoint._db = CrashingDatabase(checkpoint._db, fatal)
        done = 0
        try:
            for _ in steps(checkpoint, new_ledger()):
                done += 1
        except Crash:
            crashes += 1
        checkpoint._db.die()
        found = state(path)
        assert found in (allowed[done], allowed[min(done + 1, 4)])
        if done == 4:
            break
    assert crashes > 20


class CrashingDatabase:
    """A connection whose process dies at the n-th statement: nothing after it happens, not even a rollback."""

    def __init__(self, database, fatal):
        self._database = database
        self._left = fatal

    @property
    def in_transaction(self):
        return False

    def execute(self, *arguments):
        self._count()
        return self._database.execute(*arguments)

    def executemany(self, *arguments):
        self._count()
        return self._database.executemany(*arguments)

    def _count(self):
        self._left -= 1
        if self._left <= 0:
            raise Crash

    def die(self):
        """Lose what was not committed, as the end of a process does."""
        self._database.close()


WRITER = """
    import sys
    from pathlib import Path
    from offchain.chain.checkpoint import Checkpoint, Identity, Proven, Staged
    from offchain.chain.commitment import Commitment
    from offchain.chain.header import Header
    from offchain.chain.ledger import Chunk, Ledger
    from tests.support.chain import CHAIN_ID, CURATOR, REGISTRY, FakeChain, kind_created, nodes_added, nodes_removed
    from tests.support.chain import node_ids, provider_created
    from offchain.chain.events import plain_log

    checkpoint = Checkpoint(Path(sys.argv[1]), Identity(CHAIN_ID, REGISTRY, 1, frozenset({CURATOR})))
    saved = checkpoint.load()
    ledger = Ledger(REGISTRY, [CURATOR], 1)
    if saved.base_header is not None:
        ledger.restore(saved.base, saved.base_header.number, saved.commitment)
    if saved.staged is not None:
        ledger.restore_stage(saved.stage, saved.staged.block, Commitment.from_word(saved.staged.commitment))
    chain = FakeChain()
    chain.mine(kind_created(1, "mailserver"))
    chain.mine(provider_created(1))
    for number in range(600):
        chain.mine(nodes_added(1, node_ids(number)))
        if number % 3 == 2:
            chain.mine(nodes_removed(1, node_ids(number - 1)))
    print("go", flush=True)
    while ledger.stage_block + 1 < len(chain.blocks):
        number = ledger.stage_block + 1
        block = chain.blocks[number]
        chunk = Chunk(number, number, tuple(plain_log(log) for log in block.logs))
        layer = ledger.add_chunk(chunk)
        header = Header(number, block.hash, bytes(32), 0, bytes(32))
        checkpoint.add_stage(layer, Staged(number, ledger.stage_commitment.word, header))
        if number % 2:
            _, absorbed = ledger.proven(number, number)
            checkpoint.prove(absorbed, header, ledger.base_commitment, Proven(number, block.hash, 1.0))
    print("done", flush=True)
"""


def test_killing_the_process_at_any_instant_loses_nothing_and_doubles_nothing(path):
    draw, kills = random.Random(7), 0
    for _ in range(40):
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(path)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert writer.stdout.readline() == b"go\n"
        try:
            writer.wait(draw.uniform(0.0, 0.03))
        except subprocess.TimeoutExpired:
            os.kill(writer.pid, signal.SIGKILL)
            kills += 1
        finished = writer.communicate()[0] == b"done\n"
        saved_is_consistent(path)
        if finished:
            break
    assert kills > 3
    if not finished:
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(path)], cwd=ROOT, check=True, stdout=subprocess.PIPE
        )
    listed = saved_is_consistent(path)
    assert {listing.node_id for listing in listed} == {node_id(n) for n in range(600) if n % 3 != 1}


def saved_is_consistent(path):
    """The listings, after the saved commitment was compared with the one of the same blocks."""
    with Checkpoint(path, IDENTITY) as checkpoint:
        saved = checkpoint.load()
    ledger = new_ledger()
    if saved.base_header is not None:
        ledger.restore(saved.base, saved.base_header.number, saved.commitment)
        assert saved.proven.block == saved.base_header.number
    if saved.staged is not None:
        ledger.restore_stage(saved.stage, saved.staged.block, Commitment.from_word(saved.staged.commitment))
    assert ledger.commitment.version == sum(1 for _ in ledger.head.all_removals()) + _additions(ledger)
    return list(ledger.head.all_listings())


def _additions(ledger):
    """Events but removals: each node listed once, the provider, the kind."""
    nodes = sum(1 for _ in ledger.head.all_listings()) + sum(1 for _ in ledger.head.all_removals())
    return nodes + len(ledger.head.all_kinds()) + len(ledger.head.all_providers())


def test_a_block_keeps_its_place(path, chain):
    block = Block(header_of(chain.blocks[4]), logs_of(chain, 4, 4), (), Commitment())
    with Checkpoint(path, IDENTITY) as checkpoint:
        checkpoint.switch(3, [block])
        checkpoint.switch(3, [block])

        assert len(checkpoint.load().blocks) == 1
