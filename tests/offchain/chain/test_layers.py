"""Layers as bytes: they are read as they were written, add up as they did, and noise is one kind of error."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.chain import events
from offchain.chain.facts import TABLES, Facts
from offchain.chain.layers import LayerError, decode, encode
from tests.support.chain import (
    ADMIN,
    LATER,
    REGISTRY,
    Said,
    event,
    kind_created,
    node_id,
    node_ids,
    nodes_added,
    nodes_removed,
    nodes_renewed,
    provider_created,
    verdict_changed,
)

STORY = [
    kind_created(1, "mailserver"),
    provider_created(1),
    provider_created(2),
    nodes_added(1, node_ids(1, 2, 3)),
    nodes_added(2, node_ids(4)),
    nodes_renewed(1, node_ids(2), expires_at=LATER + 7),
    nodes_removed(1, node_ids(1, 3)),
    nodes_added(2, node_ids(1)),
    Said(REGISTRY, events.OperatorSet, (1, ADMIN), ("bool",), (True,)),
    Said(REGISTRY, events.OperatorSet, (1, ADMIN), ("bool",), (False,)),
    Said(REGISTRY, events.NodeEnr, (node_id(1)[12:],), ("uint64", "bytes"), (2**64 - 1, b"record")),
    Said(REGISTRY, events.AdditionsPaused, (), ("uint256",), (LATER,)),
    verdict_changed(2, 2, kind=1, until=2**64 - 1, weight=2**128 - 1),
]


def content(layer):
    return {table: getattr(layer, table) for table in TABLES}, layer.settings_here


def told(layer, said, start=0):
    for number, each in enumerate(said, start):
        layer.apply(event(each, version=number + 1, block=10 + number))
    return layer


@pytest.mark.parametrize("cut", range(len(STORY) + 1))
def test_is_read_as_it_was_written(cut):
    below = told(Facts(), STORY[:cut])
    above = told(Facts(below), STORY[cut:], cut)

    assert content(decode(encode(below))) == content(below)
    assert content(decode(encode(above))) == content(above)


@pytest.mark.parametrize("cut", range(len(STORY) + 1))
def test_layers_that_were_written_add_up_to_the_same_facts(cut):
    below = told(Facts(), STORY[:cut])
    above = told(Facts(below), STORY[cut:], cut)

    base = Facts()
    base.absorb(decode(encode(below)))
    base.absorb(decode(encode(above)))

    assert content(base) == content(told(Facts(), STORY))


def test_a_batch_costs_its_ids_and_little_more():
    one = told(Facts(), [nodes_added(1, node_ids(1))])
    many = told(Facts(), [nodes_added(1, node_ids(*range(1, 101)))])

    assert len(encode(many)) < len(encode(one)) + 99 * 32 + 8


def test_nodes_listed_together_share_their_origin():
    layer = decode(encode(told(Facts(), [nodes_added(1, node_ids(1, 2))])))

    first, second = layer.listings.values()

    assert first.origin is second.origin


@pytest.mark.parametrize("field", range(9))
@pytest.mark.parametrize("value", [-(2**63), 2**64 - 1, b"x", "x", [[1]], [[]], [[b"x" * 20, 1]], {"x": 1}], ids=str)
def test_a_field_that_makes_no_sense_is_a_layer_error(field, value):
    fields = msgspec.msgpack.decode(encode(told(Facts(), STORY)))
    fields[field] = value

    with pytest.raises(LayerError):
        decode(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize(
    ("column", "value"),
    [(0, b"x" * 31), (0, b""), (1, [2, 1]), (1, [-1, 1, 1, 2]), (2, []), (3, [LATER])],
)
def test_columns_that_do_not_fit_each_other_are_a_layer_error(column, value):
    fields = msgspec.msgpack.decode(encode(told(Facts(), [nodes_added(1, node_ids(1)), nodes_added(1, node_ids(2))])))
    fields[0][column] = value

    with pytest.raises(LayerError):
        decode(msgspec.msgpack.encode(fields))


@given(st.binary(max_size=200))
def test_noise_is_a_layer_error(noise):
    with pytest.raises(LayerError):
        decode(noise)
