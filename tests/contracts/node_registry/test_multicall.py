from tests.contracts.errors import reverts_with
from tests.support.registry import MAILSERVERS, ZERO_ADDRESS, Node, nodes


def test_a_key_is_rotated_in_one_transaction(registry, provider, operator, listed, agree, expiry, walk):
    old, stays = listed(nodes(2))
    new = Node.number(20)
    calls = [
        registry.removeNodes.encode_input(provider, MAILSERVERS, [old.address], [stays.address]),
        registry.addNodes.encode_input(provider, MAILSERVERS, expiry, agree(provider, [new])),
    ]

    tx = registry.multicall(calls, {"from": operator})

    assert walk() == [new.address, stays.address]
    assert [log["topics"][0] for log in tx.logs] == [
        log_topic("NodesRemoved"),
        log_topic("NodesAdded"),
    ]


def test_a_node_moves_to_another_kind_in_one_transaction(
    registry, provider, operator, stranger, listed, agree, expiry, walk
):
    registry.createKind("pushserver", {"from": stranger})
    (node,) = listed(nodes(1))
    calls = [
        registry.removeNodes.encode_input(provider, MAILSERVERS, [node.address], [ZERO_ADDRESS]),
        registry.addNodes.encode_input(provider, 2, expiry, agree(provider, [node], kind=2)),
    ]

    registry.multicall(calls, {"from": operator})

    assert walk() == []
    assert walk(kind=2) == [node.address]


def test_all_or_nothing(registry, provider, operator, admin, listed, agree, expiry, walk):
    (old,) = listed(nodes(1))
    calls = [
        registry.removeNodes.encode_input(provider, MAILSERVERS, [old.address], [ZERO_ADDRESS]),
        registry.setMetadata.encode_input(provider, "https://elsewhere.example"),
    ]

    with reverts_with("NotAdmin", provider, operator):
        registry.multicall(calls, {"from": operator})

    assert walk() == [old.address]


def test_it_lends_nobody_more_rights(registry, provider, stranger, listed):
    (node,) = listed(nodes(1))
    call = registry.removeNodes.encode_input(provider, MAILSERVERS, [node.address], [ZERO_ADDRESS])

    with reverts_with("NotOperator", provider, stranger):
        registry.multicall([registry.multicall.encode_input([call])], {"from": stranger})


def log_topic(event):
    from offchain.hashing import keccak256
    from tests.support.registry import interface

    entry = next(entry for entry in interface("NodeRegistry") if entry["type"] == "event" and entry["name"] == event)
    return keccak256(f"{event}({','.join(part['type'] for part in entry['inputs'])})".encode())
