"""Changes of policy (rule X9): what they do, and that a preview says just that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.cli.policy_edits import ACTIONS, Preview, add_own, edit_provider, remove_own, use_curators
from offchain.enode import Enode
from offchain.enr import Enr
from offchain.errors import ConfigError
from offchain.keys import PrivateKey
from offchain.trust.policy import Policy
from offchain.types import MAILSERVER, Address, NodeId, ProviderId, parse_ip

KEY = PrivateKey(b"\x07" * 32)
ENODE = Enode(KEY.public, parse_ip("10.0.0.1"), 30303, 30304).text
ENR = Enr.create(KEY, ip="10.0.0.1", tcp=30303, udp=30304).text

providers = st.integers(1, 5).map(ProviderId)
provider_sets = st.frozensets(providers)


@st.composite
def policies(draw):
    """A policy such as the commands write: nobody is both chosen and blocked."""
    chosen = draw(provider_sets)
    return Policy(chosen=chosen, blocked=draw(provider_sets) - chosen)


@given(policy=policies(), action=st.sampled_from(ACTIONS), provider=providers)
def test_an_action_done_twice_is_done_once(policy, action, provider):
    once = edit_provider(policy, action, provider)

    assert edit_provider(once, action, provider) == once
    assert not once.chosen & once.blocked


@given(policy=policies(), action=st.sampled_from(ACTIONS), provider=providers, other=providers)
def test_other_providers_are_left_alone(policy, action, provider, other):
    changed = edit_provider(policy, action, provider)

    if other != provider:
        assert (other in changed.chosen, other in changed.blocked) == (other in policy.chosen, other in policy.blocked)


@given(policy=policies(), provider=providers)
def test_each_action_does_what_it_says(policy, provider):
    assert provider in edit_provider(policy, "trust", provider).chosen
    assert provider not in edit_provider(policy, "untrust", provider).chosen
    assert provider in edit_provider(policy, "block", provider).blocked
    assert provider not in edit_provider(policy, "unblock", provider).blocked


node_sets = st.sets(st.integers(0, 6).map(lambda number: NodeId(bytes((number,)) * 32)))


@given(before=node_sets, after=node_sets)
def test_a_preview_counts_who_stays_leaves_and_joins(before, after):
    preview = Preview.between(MAILSERVER, before, after)

    assert preview.stay == len(before & after)
    assert set(preview.leaving) == before - after
    assert set(preview.joining) == after - before
    assert preview.empties == (bool(before) and not after)
    assert preview.summary.startswith(f"{len(before & after)} of {len(before)} mailserver nodes stay")


@pytest.mark.parametrize("text", [ENODE, ENR, f"  {ENODE}\n"])
def test_an_own_node_is_added_once(text):
    policy, own = add_own(Policy(), text, "mailserver", "first")
    policy, own = add_own(policy, text, "mailserver", "second")

    assert policy.own == (own,)
    assert (own.node_id, own.label, own.url) == (KEY.public.node_id, "second", text.strip())


@pytest.mark.parametrize(
    ("url", "kind", "label", "said"),
    [
        ("http://x", "mailserver", "", "is not enode://"),
        ("enr:xx", "mailserver", "", "'enr:xx' as mailserver cannot be used"),
        (ENODE, "Mail", "", "is not a kind"),
        (ENODE, "mailserver", "x" * 65, "at most 64 printable"),
        (ENODE, "mailserver", "a\x1b[31m", "at most 64 printable"),
        (Enr.create(KEY).text, "mailserver", "", "no address"),
    ],
)
def test_what_is_no_node_is_refused_in_words(url, kind, label, said):
    with pytest.raises(ConfigError, match=said):
        add_own(Policy(), url, kind, label)


@pytest.mark.parametrize("name", [KEY.public.node_id.hex(), "0x" + KEY.public.node_id.hex(), ENODE, ENR, "home"])
def test_an_own_node_is_removed_by_any_of_its_names(name):
    policy, own = add_own(Policy(), ENR, "mailserver", "home")

    assert remove_own(policy, name) == (Policy(), own)


def test_a_name_that_fits_none_or_two_is_refused():
    policy, _ = add_own(Policy(), ENODE, "mailserver", "home")
    policy, _ = add_own(policy, ENODE, "pushserver", "home")

    with pytest.raises(ConfigError, match="is none of your own nodes; known: home, home"):
        remove_own(policy, "work")
    with pytest.raises(ConfigError, match="is the name of 2 of your own nodes"):
        remove_own(policy, "home")


OWNER, TOKEN = Address(b"\x11" * 20), Address(b"\xab" * 20)
KNOWN = {"OwnerCurator": OWNER, "TokenCurator": TOKEN}


def test_curators_are_chosen_by_name_or_address_and_all_must_accept_unless_said():
    before = Policy(curators=(OWNER,), chosen=frozenset({ProviderId(4)}))

    changed = use_curators(before, ["TokenCurator", "0x" + OWNER.hex(), "0x" + "AB" * 20], KNOWN, None)

    assert changed == Policy(curators=(TOKEN, OWNER), threshold=2, chosen=before.chosen)
    assert use_curators(before, KNOWN, KNOWN, 1).threshold == 1


@pytest.mark.parametrize(
    ("wanted", "threshold", "reason"),
    [
        (["MyCurator"], None, "'MyCurator' is no curator of this deployment; known: OwnerCurator"),
        (["0x" + "33" * 20], None, "is no curator of this deployment"),
        (["OwnerCurator"], 2, "the threshold is 2, expected 1 to 1"),
        (["OwnerCurator", "0x" + "11" * 20], 2, "the threshold is 2, expected 1 to 1"),
    ],
)
def test_a_curator_that_nobody_follows_and_a_threshold_out_of_reach_are_refused(wanted, threshold, reason):
    with pytest.raises(ConfigError, match=reason):
        use_curators(Policy(), wanted, KNOWN, threshold)
