"""Facts: the fold of events, the same in one layer and in many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.chain import events
from offchain.chain.events import RemovalReason, VerdictStatus
from offchain.chain.facts import NO_ADDRESS, TABLES, Facts, FactsError
from tests.support.chain import (
    ADMIN,
    CURATOR,
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

SUCCESSOR = b"\x22" * 20


def folded(*said):
    facts = Facts()
    for index, each in enumerate(said):
        facts.apply(event(each, version=index + 1, block=10 + index))
    return facts


def seen(facts):
    """All that a layer and those below it hold."""
    return (
        {listing.node_id: listing for listing in facts.all_listings()},
        {removal.node_id: removal for removal in facts.all_removals()},
        facts.all_providers(),
        facts.all_kinds(),
        facts.all_verdicts(),
        facts.settings(),
    )


def test_lists_nodes_with_their_origin():
    facts = folded(nodes_added(3, node_ids(1, 2)))

    listing = facts.listing(node_id(2)[12:])

    assert (listing.node_id, listing.expires_at) == (node_id(2), LATER)
    assert (listing.origin.provider, listing.origin.kind, listing.origin.block) == (3, 1, 10)


def test_remembers_who_removed_a_node_and_where():
    facts = folded(nodes_added(3, node_ids(1)), nodes_removed(3, node_ids(1), reason=1))

    assert facts.listing(node_id(1)[12:]) is None
    removal = facts.removal(node_id(1)[12:])
    assert (removal.node_id, removal.reason, removal.origin.block) == (node_id(1), RemovalReason.EXPIRED, 11)


def test_a_renewal_keeps_the_origin():
    facts = folded(nodes_added(3, node_ids(1)), nodes_renewed(3, node_ids(1), expires_at=LATER + 9))

    listing = facts.listing(node_id(1)[12:])
    assert (listing.expires_at, listing.origin.block) == (LATER + 9, 10)


def test_follows_a_provider_through_its_life():
    facts = folded(
        provider_created(1, "first"),
        Said(REGISTRY, events.ProviderMetadata, (1,), ("string",), ("second",)),
        Said(REGISTRY, events.AdminTransferStarted, (1, ADMIN, b"\xbb" * 20), (), ()),
        Said(REGISTRY, events.OperatorSet, (1, b"\xee" * 20), ("bool",), (True,)),
    )

    provider = facts.provider(1)
    assert (provider.admin, provider.pending_admin, provider.metadata_uri) == (ADMIN, b"\xbb" * 20, "second")
    assert facts.is_operator(1, b"\xee" * 20)
    facts.apply(event(Said(REGISTRY, events.AdminTransferred, (1, ADMIN, b"\xbb" * 20), (), ())))
    facts.apply(event(Said(REGISTRY, events.OperatorSet, (1, b"\xee" * 20), ("bool",), (False,))))
    assert facts.provider(1).admin == b"\xbb" * 20
    assert facts.provider(1).pending_admin == NO_ADDRESS
    assert not facts.is_operator(1, b"\xee" * 20)


def test_keeps_verdicts_by_curator_provider_and_kind():
    facts = folded(verdict_changed(1, 1, kind=0, until=5), verdict_changed(1, 2, kind=1, weight=7))

    assert facts.verdict((CURATOR, 1, 0)).until == 5
    assert facts.verdict((CURATOR, 1, 1))[:3] == (VerdictStatus.REJECTED, 0, 7)
    assert facts.verdict((CURATOR, 2, 1)) is None


def test_ignores_verdicts_on_what_no_registry_can_have():
    assert folded(verdict_changed(2**200, 1), verdict_changed(1, 1, kind=2**60)).all_verdicts() == {}


def test_keeps_records_a_pause_and_a_successor():
    facts = folded(
        Said(REGISTRY, events.NodeEnr, (b"\x01" * 20,), ("uint64", "bytes"), (2**64 - 1, b"record")),
        Said(REGISTRY, events.AdditionsPaused, (), ("uint256",), (LATER,)),
        Said(REGISTRY, events.SuccessorAnnounced, (SUCCESSOR,), (), ()),
    )

    assert facts.enr(b"\x01" * 20) == (2**64 - 1, b"record")
    assert facts.settings() == (LATER, SUCCESSOR)


@pytest.mark.parametrize(
    "said",
    [
        nodes_added(2, node_ids(1)),
        nodes_added(1, node_ids(2, 2)),
        nodes_removed(2, node_ids(1)),
        nodes_removed(1, node_ids(1), kind=2),
        nodes_removed(1, node_ids(2)),
        nodes_removed(1, node_ids(1, 1)),
        nodes_renewed(2, node_ids(1)),
        provider_created(1),
        kind_created(1, "mailserver"),
        Said(REGISTRY, events.ProviderMetadata, (9,), ("string",), ("x",)),
        Said(REGISTRY, events.OperatorSet, (9, ADMIN), ("bool",), (True,)),
    ],
)
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_refuses_what_contradicts_the_events_before(said, layers):
    facts = folded(kind_created(1, "mailserver"), provider_created(1), nodes_added(1, node_ids(1)))
    for _ in range(layers):
        facts = Facts(facts)

    with pytest.raises(FactsError):
        facts.apply(event(said))


steps = st.lists(
    st.one_of(
        st.builds(lambda p, n: ("add", p, n), st.integers(1, 2), st.integers(0, 5)),
        st.builds(lambda p, n: ("remove", p, n), st.integers(1, 2), st.integers(0, 5)),
        st.builds(lambda p, n: ("renew", p, n), st.integers(1, 2), st.integers(0, 5)),
        st.builds(lambda p, n: ("judge", p, n % 3), st.integers(1, 2), st.integers(0, 5)),
        st.just(("layer", 0, 0)),
        st.just(("absorb", 0, 0)),
    ),
    max_size=40,
)


@given(steps)
def test_layers_hold_what_one_layer_holds(actions):
    flat, base = Facts(), Facts()
    top = base
    for number, (what, provider, node) in enumerate(actions):
        if what == "layer":
            top = Facts(top)
            continue
        if what == "absorb":
            for layer in reversed(top._layers()[:-1]):
                base.absorb(layer)
            top = base
            continue
        makers = {"add": nodes_added, "remove": nodes_removed, "renew": nodes_renewed}
        said = verdict_changed(provider, node) if what == "judge" else makers[what](provider, node_ids(node))
        happened = event(said, version=1, block=number)
        try:
            flat.apply(happened)
        except FactsError:
            with pytest.raises(FactsError):
                top.apply(happened)
        else:
            top.apply(happened)
    assert seen(top) == seen(flat)
    assert top.listing_count() == flat.listing_count() == len(seen(flat)[0])
    for layer in reversed(top._layers()[:-1]):
        base.absorb(layer)
    assert seen(base) == seen(flat)
    assert all(value is not None for name in TABLES for value in getattr(base, name).values())
