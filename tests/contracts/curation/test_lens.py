"""What clients are told: joined from the registry and any curators, hostile ones too."""

import pytest
from brownie import DiscoveryLens, OwnerCurator, StubCurator, chain
from eth_abi import encode

from scripts.terms import TOKEN
from tests.contracts.errors import reverts_with
from tests.support.curation import ACCEPTED, FOR, NONE, REJECTED
from tests.support.registry import DAY, MAILSERVERS, ZERO_ADDRESS, addresses, nodes, possession

TRUSTED, NOT_LISTED, OTHER_KIND, EXPIRED, NOT_ACCEPTED = range(5)
STRANGE = "0x" + "77" * 20


@pytest.fixture(scope="module")
def lens(registry, guardian):
    return DiscoveryLens.deploy(registry, {"from": guardian})


@pytest.fixture(scope="module")
def second(guardian):
    """Another owner's curator."""
    return OwnerCurator.deploy(guardian, {"from": guardian})


@pytest.fixture
def stub(guardian):
    return StubCurator.deploy({"from": guardian})


@pytest.fixture
def node(registry, provider, admin, expiry, agree):
    (made,) = nodes(1)
    registry.addNodes(provider, MAILSERVERS, expiry, agree(provider, [made]), {"from": admin})
    return made.address


def answer(lens, curators, k, node, kind=MAILSERVERS):
    """(trusted, reason, provider, how many accept, statuses)."""
    the = lens.trusted([str(curator) for curator in curators], k, node, kind)
    return the[0], the[1], the[2], the[4], [opinion[1] for opinion in the[5]]


def test_a_node_is_trusted_once_k_curators_accept_its_provider(lens, owner_curator, second, provider, guardian, node):
    both = (owner_curator, second)
    assert answer(lens, both, 1, node) == (False, NOT_ACCEPTED, provider, 0, [NONE, NONE])
    owner_curator.setVerdict(provider, MAILSERVERS, ACCEPTED, 0, {"from": guardian})
    assert answer(lens, both, 1, node) == (True, TRUSTED, provider, 1, [ACCEPTED, NONE])
    assert answer(lens, both, 2, node) == (False, NOT_ACCEPTED, provider, 1, [ACCEPTED, NONE])
    second.setVerdict(provider, 0, ACCEPTED, 0, {"from": guardian})
    assert answer(lens, both, 2, node) == (True, TRUSTED, provider, 2, [ACCEPTED, ACCEPTED])


def test_says_why_a_node_is_not_trusted(lens, registry, owner_curator, provider, guardian, stranger, node):
    owner_curator.setVerdict(provider, 0, ACCEPTED, 0, {"from": guardian})
    registry.createKind("pushserver", {"from": stranger})

    assert answer(lens, [owner_curator], 1, STRANGE)[:3] == (False, NOT_LISTED, 0)
    assert answer(lens, [owner_curator], 1, node, kind=2)[:3] == (False, OTHER_KIND, provider)
    chain.sleep(101 * DAY)
    chain.mine()
    assert answer(lens, [owner_curator], 1, node)[:3] == (False, EXPIRED, provider)


def test_the_verdict_on_the_kind_comes_first_and_one_that_is_over_does_not_count(
    lens, owner_curator, provider, guardian, node
):
    owner_curator.setVerdict(provider, 0, ACCEPTED, 0, {"from": guardian})
    until = chain[-1].timestamp + 100
    owner_curator.setVerdict(provider, MAILSERVERS, REJECTED, until, {"from": guardian})
    accepting, (opinion,) = lens.opinionsOn([owner_curator], provider, MAILSERVERS)
    assert (accepting, tuple(opinion)) == (0, (owner_curator.address, REJECTED, True, False, until, 0))

    chain.sleep(100)
    chain.mine()

    accepting, (opinion,) = lens.opinionsOn([owner_curator], provider, MAILSERVERS)
    assert (accepting, tuple(opinion)) == (1, (owner_curator.address, ACCEPTED, False, False, 0, 0))


@pytest.mark.parametrize(
    ("data", "reverts", "burns"),
    [
        (b"", False, False),
        (b"", True, False),
        (b"", False, True),
        (b"\1" * 95, False, False),
        (encode(["uint256"] * 3, [3, 0, 0]), False, False),
        (encode(["uint256"] * 3, [1, 2**64, 0]), False, False),
        (encode(["uint256"] * 3, [1, 0, 2**128]), False, False),
        (encode(["uint256"] * 4, [1, 0, 0, 0]), False, False),
    ],
)
def test_a_curator_that_makes_no_sense_spoils_nothing(
    lens, owner_curator, stub, provider, guardian, node, data, reverts, burns
):
    owner_curator.setVerdict(provider, 0, ACCEPTED, 0, {"from": guardian})
    stub.set(data, reverts, burns, {"from": guardian})

    assert answer(lens, (stub, owner_curator), 1, node) == (True, TRUSTED, provider, 1, [NONE, ACCEPTED])
    assert [opinion[3] for opinion in lens.opinionsOn([stub, owner_curator], provider, 1)[1]] == [True, False]


def test_an_address_without_code_is_a_curator_that_fails(lens, owner_curator, provider, guardian, node):
    owner_curator.setVerdict(provider, 0, ACCEPTED, 0, {"from": guardian})
    assert answer(lens, (STRANGE, owner_curator), 1, node)[:2] == (True, TRUSTED)
    assert answer(lens, (STRANGE, owner_curator), 2, node)[:2] == (False, NOT_ACCEPTED)


def test_policies_that_make_no_sense_are_refused(lens, owner_curator, second, node):
    for k in (0, 2):
        with reverts_with("InvalidThreshold", k, 1):
            lens.trusted([owner_curator], k, node, 1)
    with reverts_with("InvalidThreshold", 1, 0):
        lens.trusted([], 1, node, 1)
    with reverts_with("DuplicateCurator", owner_curator.address):
        lens.trusted([owner_curator, second, owner_curator], 2, node, 1)
    with reverts_with("ZeroLimit"):
        lens.trustedNodes([owner_curator], 1, 1, (0, ZERO_ADDRESS), 0)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
def test_pages_of_trusted_nodes_fit_together(
    lens, registry, owner_curator, provider, rival_provider, admin, rival, stranger, guardian, limit
):
    registry.createProvider("third", {"from": stranger})
    now = chain[-1].timestamp
    fleets = {provider: (admin, nodes(5)), rival_provider: (rival, nodes(2, 10)), 3: (stranger, nodes(3, 20))}
    for number, (owner, fleet) in fleets.items():
        for index, one in enumerate(fleet):
            expires = now + (DAY if index == 1 else 100 * DAY)
            proofs = [possession(registry, one, number, now + DAY)]
            registry.addNodes(number, MAILSERVERS, expires, proofs, {"from": owner})
    for number in (provider, 3):
        owner_curator.setVerdict(number, 0, ACCEPTED, 0, {"from": guardian})
    chain.sleep(2 * DAY)
    chain.mine()

    found, cursor, pages = [], (0, ZERO_ADDRESS), 0
    while True:
        page, cursor = lens.trustedNodes([owner_curator], 1, MAILSERVERS, cursor, limit)
        found += [(each[1], each[0]) for each in page]
        pages += 1
        assert len(page) <= limit
        assert pages < 60
        if cursor[0] == 0:
            break

    wanted = [
        (number, node)
        for number in (provider, 3)
        for index, node in reversed(list(enumerate(addresses(fleets[number][1]))))
        if index != 1
    ]
    assert found == wanted


def test_a_light_client_starts_with_one_call(lens, registry, owner_curator, provider, guardian, node):
    owner_curator.setVerdict(provider, 0, ACCEPTED, 0, {"from": guardian})

    start = lens.start([owner_curator], 1, MAILSERVERS, 10)

    version, digest = registry.commitment()
    assert start[:2] == (chain.id, chain.height)
    assert start[2] == chain[-1].timestamp
    assert start[4:9] == (version, digest, registry.providerCount(), 1, registry.pausedUntil())
    assert start[9] == registry.topicOf(MAILSERVERS)
    assert [each[:2] for each in start[10]] == [(node, provider)]
    assert start[11] == (0, ZERO_ADDRESS)


def test_equal_verdicts_of_all_curators_give_equal_answers(
    lens, play, owner_curator, provider, guardian, challenger, alice, node
):
    """13, CuratorUniform: by an owner or by a vote, a client reads them alike."""

    def both_say(status):
        answers = [answer(lens, [curator], 1, node)[:4] for curator in (owner_curator, play.curator)]
        assert answers[0] == answers[1]
        verdicts = [curator.verdict(provider, MAILSERVERS)[:2] for curator in (owner_curator, play.curator)]
        assert verdicts == [(status, 0)] * 2

    both_say(NONE)
    play.list(provider)
    owner_curator.setVerdict(provider, MAILSERVERS, ACCEPTED, 0, {"from": guardian})
    both_say(ACCEPTED)
    play.contest(provider, challenger, (alice, FOR, 20_000 * TOKEN))
    owner_curator.setVerdict(provider, MAILSERVERS, REJECTED, 0, {"from": guardian})
    both_say(REJECTED)
