"""Which curator says what, and whose word it takes (rules T14, T15)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from offchain.chain.events import VerdictStatus
from offchain.trust.policy import Policy
from offchain.trust.trusted_set import TrustedSet
from offchain.trust.voices import Says, rule, voices
from offchain.types import Address, KindId, ProviderId

ANN, BEN, CEM = (Address(bytes((number,)) * 20) for number in (1, 2, 3))
PROVIDER, KIND = ProviderId(7), KindId(1)
NOW = 1_700_000_000.0
YES, NO = VerdictStatus.ACCEPTED, VerdictStatus.REJECTED


class Verdicts:
    """Facts of which only the verdicts on provider 7 matter: (status, until) by curator."""

    def __init__(self, **said):
        self.said = {{"ann": ANN, "ben": BEN, "cem": CEM}[name]: each for name, each in said.items()}

    def verdict(self, key):
        curator, provider, kind = key
        if (provider, kind) != (PROVIDER, KIND) or curator not in self.said:
            return None
        status, until = self.said[curator]
        return SimpleNamespace(status=status, until=until)


def heard(policy, final, head):
    trust = SimpleNamespace(policy=policy, adopted=final, head=head, verdict_in_force=TrustedSet.verdict_in_force)
    return {each.curator: (each.says, each.until) for each in voices(trust, PROVIDER, KIND, NOW)}


def test_every_curator_of_the_policy_is_heard_and_no_other():
    facts = Verdicts(ann=(YES, 0), ben=(NO, 0), cem=(YES, 0))

    assert heard(Policy((BEN, ANN)), facts, facts) == {BEN: (Says.REJECTS, None), ANN: (Says.ACCEPTS, None)}


def test_a_yes_counts_when_it_is_final_and_a_no_at_once():
    final, head = Verdicts(ann=(YES, 0)), Verdicts(ann=(NO, 0), ben=(YES, 0))

    assert heard(Policy((ANN, BEN)), final, head) == {ANN: (Says.REJECTS, None), BEN: (Says.ACCEPTS_SOON, None)}


def test_a_verdict_that_is_over_says_nothing_and_one_that_is_not_says_until_when():
    facts = Verdicts(ann=(YES, int(NOW)), ben=(YES, int(NOW) + 1))

    assert heard(Policy((ANN, BEN, CEM)), facts, facts) == {
        ANN: (Says.NOTHING, None),
        BEN: (Says.ACCEPTS, int(NOW) + 1),
        CEM: (Says.NOTHING, None),
    }


@pytest.mark.parametrize(
    ("curators", "threshold", "words"),
    [
        ((), 1, "you have no curators"),
        ((ANN,), 1, "one curator decides alone"),
        ((ANN, BEN), 1, "each of your 2 curators decides alone"),
        ((ANN, BEN), 2, "2 of your 2 curators must accept"),
        ((ANN, BEN), 3, "3 curators must accept a provider, and you have 2"),
    ],
)
def test_whose_word_it_takes_is_said_in_a_sentence(curators, threshold, words):
    assert rule(Policy(curators, threshold)).startswith(words)
