"""Going through all listings: in C and in Python alike."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.chain.facts import Listing, Origin
from offchain.chain.listings import columns, columns_in_python, gather, gather_in_python
from offchain.chain.native import native_listings
from offchain.types import KindId, NodeAddress, NodeId, ProviderId

in_c = pytest.mark.skipif(native_listings is None, reason="the C code is not built")

NOW = 1_800_000_000

ORIGINS = [Origin(ProviderId(by), KindId(of), 7, 0, bytes(32)) for by in (1, 2, 2**23) for of in (1, 2**23)]

times = st.sampled_from([0, NOW - 1, NOW, NOW + 1, NOW + 2, 2**32 - 1])

entries = st.lists(
    st.none() | st.builds(lambda origin, end: (origin, end), st.sampled_from(ORIGINS), times), max_size=12
)


def listings_of(story, *, gone=True):
    """A dictionary of listings; None in the story is a node that left its list."""
    listings = {}
    for number, each in enumerate(story):
        node_id = NodeId(number.to_bytes(32, "big"))
        if each is not None:
            origin, ends = each
            # An equal number is not always the same object.
            listings[NodeAddress(node_id[12:])] = Listing(node_id, int(str(ends)), origin)
        elif gone:
            listings[NodeAddress(node_id[12:])] = None
    return listings


def gathered(gathering, listings, apart, accepted):
    """What is gathered, when the first of it ends, and which lists were asked for, in their order."""
    lists, asked = {}, []

    def list_of(provider, kind):
        asked.append((provider, kind))
        until = accepted.get((provider, kind))
        return None if until is None else (lists.setdefault((provider, kind), {}), until)

    first = gathering(listings, apart, NOW, list_of)
    return lists, first, asked


def test_columns_join_neighbours_that_were_listed_together_and_end_together():
    one, other = ORIGINS[:2]
    listings = listings_of([(one, 5), (one, 5), None, (one, 5), (one, 6), (other, 6), (one, 6)])

    nodes, counts, origins, ends = columns(listings)

    assert nodes == b"".join(each.node_id for each in listings.values() if each is not None)
    assert (counts, origins, ends) == ([3, 1, 1, 1], [one, one, other, one], [5, 6, 6, 6])


def test_columns_of_nothing_are_empty():
    assert columns({}) == columns(listings_of([None])) == (b"", [], [], [])


def test_a_node_goes_to_its_list_until_the_sooner_of_two_ends():
    one, other = ORIGINS[0], ORIGINS[2]
    listings = listings_of([(one, NOW + 5), (one, NOW), (other, NOW + 9), (one, NOW + 3)])
    accepted = {(one.provider, one.kind): NOW + 4.5, (other.provider, other.kind): math.inf}

    lists, first, asked = gathered(gather, listings, set(), accepted)

    ids = [each.node_id for each in listings.values()]
    assert lists[one.provider, one.kind] == {ids[0]: NOW + 4.5, ids[3]: NOW + 3}
    assert lists[other.provider, other.kind] == {ids[2]: NOW + 9}
    assert first == NOW + 3
    assert asked == [(1, 1), (2, 1), (1, 1)]


def test_nobody_goes_to_a_list_that_is_not_accepted():
    listings = listings_of([(ORIGINS[0], NOW + 5), (ORIGINS[1], NOW + 5)])

    assert gathered(gather, listings, set(), {}) == ({}, math.inf, [(1, 1), (1, 2**23)])


def test_those_apart_are_left_out():
    listings = listings_of([(ORIGINS[0], NOW + 5), (ORIGINS[0], NOW + 2)])
    first_of_all, last = listings

    lists, first, _ = gathered(gather, listings, {last}, {(1, 1): math.inf})

    assert lists == {(1, 1): {listings[first_of_all].node_id: NOW + 5}}
    assert first == NOW + 5


@in_c
@given(entries)
def test_in_c_columns_are_the_same(story):
    listings = listings_of(story)

    assert native_listings.columns(listings, Listing, Origin) == columns_in_python(listings)


@in_c
@given(
    entries,
    st.sets(st.integers(0, 12)),
    st.dictionaries(
        st.sampled_from([(each.provider, each.kind) for each in ORIGINS]),
        st.sampled_from([NOW + 0.5, NOW + 1, NOW + 1.5, 2**33, math.inf]),
    ),
)
def test_in_c_the_same_is_gathered(story, apart, accepted):
    listings = listings_of(story, gone=False)
    apart = {NodeAddress(number.to_bytes(20, "big")) for number in apart}

    def in_c(*arguments):
        return native_listings.gather(*arguments, Listing, Origin)

    assert gathered(in_c, listings, apart, accepted) == gathered(gather_in_python, listings, apart, accepted)


@in_c
def test_in_c_what_is_no_listing_is_refused():
    good = listings_of([(ORIGINS[0], NOW + 5)])
    key, listing = next(iter(good.items()))
    for wrong in (
        object(),
        ORIGINS[0],
        Listing(b"short", NOW + 5, ORIGINS[0]),
        Listing(listing.node_id, 1.5, ORIGINS[0]),
        Listing(listing.node_id, NOW + 5, None),
        Listing(listing.node_id, NOW + 5, Origin("1", 1, 7, 0, b"")),
    ):
        with pytest.raises(TypeError, match="expected a listing"):
            native_listings.columns({key: wrong}, Listing, Origin)
        with pytest.raises(TypeError, match="expected a listing"):
            native_listings.gather({key: wrong}, set(), NOW, lambda *_: None, Listing, Origin)
    for arguments in (
        ([], set(), NOW, print, Listing, Origin),
        (good, [], NOW, print, Listing, Origin),
        (good, set(), 1.5, print, Listing, Origin),
        (good, set(), NOW, lambda *_: 1, Listing, Origin),
        (good, set(), NOW, lambda *_: ([], 1), Listing, Origin),
        (good, set(), NOW, lambda *_: ({}, "1"), Listing, Origin),
        (good, set(), NOW, None, Listing, Origin),
    ):
        with pytest.raises(TypeError):
            native_listings.gather(*arguments)
    with pytest.raises(TypeError, match="has no slot for node_id"):
        native_listings.columns(good, type("Other", (), {"node_id": b""}), Origin)
    with pytest.raises(AttributeError):
        native_listings.columns(good, Origin, Origin)


@in_c
def test_in_c_an_error_of_whoever_is_asked_for_a_list_is_passed_on():
    def refuse(provider, kind):
        raise LookupError(provider)

    with pytest.raises(LookupError):
        native_listings.gather(listings_of([(ORIGINS[0], NOW + 5)]), set(), NOW, refuse, Listing, Origin)
