import json

import pytest
from brownie import chain

from offchain.enr import Enr
from scripts import nodes as script
from scripts.session import Refusal
from tests.support.registry import DAY, ZERO_ADDRESS, Node, addresses, nodes


def test_adds_nodes_from_proof_files(registry, provider, admin, proof_file, walk, now):
    fleet = nodes(2)

    script.add("1", "mailserver", *map(proof_file, fleet), expires="30d", account=admin)

    assert walk() == addresses(fleet)[::-1]
    assert abs(registry.nodeOf(fleet[0].address)[3] - now - 30 * DAY) < 60


def test_large_numbers_go_in_batches(registry, provider, admin, document, walk):
    fleet = nodes(5)

    sent = script.add("1", "1", *map(document, fleet), batch="2", account=admin)

    assert len(sent) == 3
    assert walk() == addresses(fleet)[::-1]


def test_a_dry_run_adds_nothing(registry, provider, admin, proof_file, walk, capsys):
    script.add("1", "mailserver", proof_file(nodes(1)[0]), dry_run="yes", account=admin)

    assert walk() == []
    assert "would list 1 mailserver nodes of provider 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chain_id": 1}, "is for chain 1, this is chain 31337"),
        ({"registry": bytes(20)}, "is for the registry 0x0000000000000000000000000000000000000000"),
        ({"provider": 7}, "is for provider 7, not 1"),
        ({"kind_id": 3}, "is for kind 3"),
        ({"generation": 4}, "is for listing 4 of the node, the next one is 1"),
        ({"deadline": 1_600_000_000}, "was good until 2020-09-13"),
    ],
)
def test_a_proof_for_something_else_is_refused_before_sending(
    registry, provider, admin, proof_file, walk, change, reason
):
    height = chain.height

    with pytest.raises(Refusal, match=reason):
        script.add("1", "mailserver", proof_file(nodes(1)[0], **change), account=admin)
    assert chain.height == height


def test_a_forged_proof_is_refused(registry, provider, admin, document, tmp_path):
    forged = {**document(nodes(1)[0]), "r": "0x" + "11" * 32}

    with pytest.raises(Refusal, match="proof: the signature"):
        script.add("1", "mailserver", forged, account=admin)


@pytest.mark.parametrize(
    ("content", "reason"), [("{", "is no JSON"), ("[]", "is a JSON object"), ("{}", "lacks"), (None, "cannot be read")]
)
def test_a_file_without_a_proof_is_refused(registry, provider, admin, tmp_path, content, reason):
    path = tmp_path / "proof.json"
    if content is not None:
        path.write_text(content)

    with pytest.raises(Refusal, match=reason):
        script.add("1", "mailserver", str(path), account=admin)


def test_a_listed_node_is_not_added_again(registry, provider, admin, listed, proof_file):
    listed(nodes(1))

    with pytest.raises(Refusal, match="listed already, by provider 1 for kind 1"):
        script.add("1", "mailserver", proof_file(nodes(1)[0]), account=admin)


def test_an_unknown_kind_says_how_to_make_it(registry, provider, admin):
    with pytest.raises(Refusal, match="brownie run kinds create pushserver"):
        script.remove("1", "pushserver", nodes(1)[0].address, account=admin)


def test_renews_all_or_some(registry, provider, admin, listed, expiry):
    fleet = listed(nodes(3))

    script.renew("1", "mailserver", fleet[1].address, expires=str(expiry + 1), account=admin)
    assert [registry.nodeOf(node.address)[3] - expiry for node in fleet] == [0, 1, 0]

    script.renew("1", "mailserver", expires=str(expiry + 2), account=admin)
    assert [registry.nodeOf(node.address)[3] - expiry for node in fleet] == [2, 2, 2]


def test_removes_by_address_or_id_and_finds_the_hints(registry, provider, admin, listed, walk):
    fleet = listed(nodes(6))

    script.remove("1", "mailserver", fleet[4].address, "0x" + fleet[1].id.hex(), fleet[5].id.hex(), account=admin)

    assert walk() == [fleet[3].address, fleet[2].address, fleet[0].address]


def test_removes_in_batches(registry, provider, admin, listed, walk):
    fleet = listed(nodes(7))

    script.remove("1", "mailserver", *addresses(fleet[:6]), batch=2, account=admin)

    assert walk() == [fleet[6].address]


@pytest.mark.parametrize("word", ["0x12", "nobody", ""])
def test_what_is_no_node_is_refused(registry, provider, admin, listed, word):
    listed(nodes(1))

    with pytest.raises(Refusal, match="is not an address"):
        script.remove("1", "mailserver", word, account=admin)


def test_unlisted_nodes_and_repetitions_are_refused(registry, provider, admin, listed):
    (node,) = listed(nodes(1))

    with pytest.raises(Refusal, match="does not list as mailserver"):
        script.remove("1", "mailserver", Node.number(9).address, account=admin)
    with pytest.raises(Refusal, match="named twice"):
        script.remove("1", "mailserver", node.address, node.address, account=admin)
    with pytest.raises(Refusal, match="at least one"):
        script.remove("1", "mailserver", account=admin)


def test_prunes_what_has_expired(registry, provider, admin, stranger, listed, expiry, walk):
    fleet = listed(nodes(3))
    script.renew("1", "mailserver", fleet[1].address, expires=str(expiry + 20 * DAY), account=admin)
    chain.sleep(101 * DAY)
    chain.mine()

    script.prune("1", "mailserver", account=stranger)

    assert walk() == [fleet[1].address]


def test_says_when_nothing_has_expired(registry, provider, stranger, listed, capsys):
    listed(nodes(1))

    assert script.prune("1", "mailserver", account=stranger) == []

    assert "no mailserver node of provider 1 has expired" in capsys.readouterr().out


def test_shows_pages(registry, provider, listed, capsys):
    fleet = addresses(listed(nodes(3)))[::-1]

    script.page("1", "mailserver", batch=2)
    out = capsys.readouterr().out
    assert fleet[0] in out
    assert fleet[2] not in out
    assert f"more: brownie run nodes page 1 mailserver start={fleet[1]}" in out

    script.page("1", "mailserver", start=fleet[1], batch=2)
    assert fleet[2] in capsys.readouterr().out


def test_a_page_begins_at_a_node_of_the_list(registry, provider, admin, listed):
    first, second = addresses(listed(nodes(2)))
    registry.removeNodes(provider, 1, [second], [ZERO_ADDRESS], {"from": admin})

    with pytest.raises(Refusal, match="begin again, without start="):
        script.page("1", "mailserver", start=second)
    with pytest.raises(Refusal, match="there is no provider 9"):
        script.page("9", "mailserver")
    with pytest.raises(Refusal, match="batch is 0"):
        script.page("1", "mailserver", start=first, batch=0)


def test_publishes_a_record(registry, provider, admin, listed):
    (node,) = listed(nodes(1))
    record = Enr.create(node.key, seq=7)

    script.enr(record.text, account=admin)

    assert registry.enrSeqOf(node.address) == 7
    with pytest.raises(Refusal, match="not a node record"):
        script.enr("enr:nonsense", account=admin)


def test_proofs_are_read_as_they_are_written(document):
    written = document(nodes(1)[0])

    assert script.read_proof(written)[1].to_json() == json.loads(json.dumps(written))
