"""Snapshots: true ones make a client fresh with a few requests, others are refused and say why."""

import asyncio
import dataclasses
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.chain import snapshot
from offchain.chain.snapshot import SnapshotError, adopt, decode, encode, fold
from offchain.errors import ChainError, StorageError
from offchain.trust import Freshness
from offchain.types import MAILSERVER
from tests.support.chain import FakeNode, Refuses, node_id, node_ids, nodes_added, nodes_removed
from tests.support.lies import ForgesHistory, OmitsTheLast, Scene


@pytest.fixture
async def scene(tmp_path):
    scene = Scene(tmp_path / "exporter", honest=2)
    scene.first_years()
    return scene


async def exported(scene):
    async with scene.open() as trusted:
        await scene.settle(trusted)
        return await trusted.snapshot()


def newcomer(scene, folder, *liars):
    other = Scene(folder / "newcomer", *liars)
    other.chain = scene.chain
    for node in other.nodes:
        node.chain = scene.chain
    return other


async def test_a_newcomer_is_fresh_with_a_few_requests(scene, tmp_path):
    found = decode(encode(await exported(scene)))
    other = newcomer(scene, tmp_path)

    proven = await adopt(other.rpc, other.config, found, other.clock())
    asked = [method for node in other.nodes for method, _ in node.calls]
    async with other.open() as trusted:
        assert trusted.is_trusted(MAILSERVER, node_id(4))
        assert trusted.state is Freshness.FRESH
        await other.settle(trusted)

    assert proven.block == found.block == scene.chain.final.number
    assert "eth_getLogs" not in asked
    assert len(asked) < 12


async def test_goes_on_to_a_recent_block_where_old_state_is_gone(scene, tmp_path):
    class Pruned(FakeNode):
        def eth_getProof(self, contract, slots, number):
            if int(number, 16) < self.chain.final.number:
                raise Refuses("missing trie node")
            return super().eth_getProof(contract, slots, number)

    found = await exported(scene)
    scene.chain.mine(nodes_added(1, node_ids(7)), nodes_removed(1, node_ids(1)))
    scene.chain.pass_blocks(5)
    other = newcomer(scene, tmp_path)
    other.rpc.nodes = {url: Pruned(scene.chain) for url in other.rpc.nodes}

    proven = await adopt(other.rpc, other.config, found, other.clock())

    assert proven.block == scene.chain.final.number > found.block
    async with other.open() as trusted:
        assert other.trusted(trusted) == set(node_ids(3, 4, 7))


def _without(logs, at):
    return (*logs[:at], *logs[at + 1 :])


def _with(log, payload):
    return msgspec.structs.replace(log, payload=payload)


def alterations():
    rng = random.Random(3)
    yield "leaves out the first", lambda logs: logs[1:]
    yield "leaves out the last", lambda logs: logs[:-1]
    yield "leaves out one", lambda logs: _without(logs, 4)
    yield (
        "leaves out a verdict",
        lambda logs: _without(logs, max(at for at, log in enumerate(logs) if log.address[0] == 0xCC)),
    )
    yield "repeats the last", lambda logs: (*logs, logs[-1])
    yield "reorders", lambda logs: (logs[1], logs[0], *logs[2:])
    for number in range(8):
        at = rng.random()

        def flip(logs, at=at):
            index = int(at * len(logs))
            payload = bytearray(logs[index].payload)
            payload[-1 - int(at * 60)] ^= 1
            return (*logs[:index], _with(logs[index], bytes(payload)), *logs[index + 1 :])

        yield f"alters a byte {number}", flip


@pytest.mark.parametrize("alter", [pytest.param(alter, id=name) for name, alter in alterations()])
async def test_an_altered_snapshot_is_refused_and_leaves_nothing_behind(scene, tmp_path, alter):
    found = await exported(scene)
    altered = dataclasses.replace(found, logs=alter(found.logs))
    other = newcomer(scene, tmp_path)

    with pytest.raises(SnapshotError, match="altered"):
        await adopt(other.rpc, other.config, decode(encode(altered)), other.clock())

    await adopt(other.rpc, other.config, found, other.clock())


async def test_an_altered_block_is_refused(scene, tmp_path):
    found = dataclasses.replace(await exported(scene), block_hash=b"\x01" * 32)
    other = newcomer(scene, tmp_path)

    with pytest.raises(SnapshotError, match="altered, or of another chain"):
        await adopt(other.rpc, other.config, found, other.clock())


async def test_an_altered_time_is_refused(scene, tmp_path):
    found = await exported(scene)
    other = newcomer(scene, tmp_path)

    with pytest.raises(SnapshotError, match="of another time"):
        await adopt(other.rpc, other.config, dataclasses.replace(found, time=found.time + 1), other.clock())


async def test_another_registry_or_chain_is_refused(scene):
    found = await exported(scene)

    with pytest.raises(SnapshotError, match="is of chain 5, expected 31337"):
        fold(dataclasses.replace(found, chain_id=5), scene.config)
    with pytest.raises(SnapshotError, match="is of registry 0x09"):
        fold(dataclasses.replace(found, contracts=(b"\x09" * 20, *found.contracts[1:])), scene.config)
    with pytest.raises(SnapshotError, match="no verdicts of curator"):
        fold(dataclasses.replace(found, contracts=found.contracts[:1]), scene.config)


async def test_a_database_that_is_in_use_is_not_overwritten(scene):
    found = await exported(scene)

    with pytest.raises(StorageError, match="synchronised to block"):
        await adopt(scene.rpc, scene.config, found, scene.clock())


async def test_a_forger_cannot_prove_its_snapshot_to_a_quorum(scene, tmp_path):
    forger = Scene(tmp_path / "forger", ForgesHistory, honest=0)
    forger.chain = forger.nodes[0].chain = scene.chain
    async with forger.open() as trusted:
        await asyncio.wait_for(trusted.wait_for(lambda each: each.trusted_set.proven_at is not None, 5), 6)
        forged = await trusted.snapshot()
    other = newcomer(scene, tmp_path, ForgesHistory)

    with pytest.raises((SnapshotError, ChainError)):
        await adopt(other.rpc, other.config, forged, other.clock())


async def test_an_endpoint_that_leaves_out_events_cannot_make_a_snapshot(scene):
    async with scene.open() as trusted:
        await scene.settle(trusted)
        scene.rpc.nodes = {url: OmitsTheLast(scene.chain) for url in scene.rpc.nodes}

        with pytest.raises(ChainError, match=r"not those that were proven|version"):
            await trusted.snapshot()


@pytest.fixture(scope="module")
def file():
    log = snapshot.PlainLog(b"\x11" * 20, 1, bytes(96), 3, 0, bytes(32), bytes(32))
    return encode(snapshot.Snapshot(1, (b"\x11" * 20,), 1, 9, bytes(32), 7, (log, log)))


def test_comes_back_as_it_was(file):
    assert encode(decode(file)) == file


@settings(max_examples=200)
@given(data=st.data())
def test_damage_is_noticed(file, data):
    at = data.draw(st.integers(0, len(file) - 1))
    damaged = file[:at] + bytes([file[at] ^ data.draw(st.integers(1, 255))]) + file[at + 1 :]

    with pytest.raises(SnapshotError):
        decode(damaged)
    with pytest.raises(SnapshotError):
        decode(file[:at])


@given(noise=st.binary(max_size=300), signed=st.booleans())
def test_noise_is_no_snapshot(noise, signed):
    import zlib

    from offchain.hashing import keccak256

    body = zlib.compress(noise) if signed else noise
    with pytest.raises(SnapshotError):
        decode(snapshot.MAGIC + b"\x01" + keccak256(body) + body)
