"""Proof files as `waypost node authorize` writes them."""

from __future__ import annotations

import json

import pytest
from brownie import chain

from offchain.possession import Terms, authorize
from offchain.types import MAILSERVER, Address, KindId, ProviderId
from tests.support.registry import DAY


@pytest.fixture
def document(registry, provider, now):
    """A proof as JSON, right in everything that the options leave alone."""

    def made(node, **changes):
        terms = {
            "node_id": node.id,
            "provider": ProviderId(provider),
            "kind": MAILSERVER,
            "kind_id": KindId(1),
            "generation": int(registry.nodeOf(node.address)[4]) + 1,
            "deadline": now + DAY,
            "chain_id": chain.id,
            "registry": Address(bytes.fromhex(registry.address[2:])),
        }
        return authorize(node.key, Terms(**{**terms, **changes})).to_json()

    return made


@pytest.fixture
def proof_file(document, tmp_path):
    """The path of a file with a proof."""

    def written(node, **changes):
        path = tmp_path / f"{node.address}.json"
        path.write_text(json.dumps(document(node, **changes)))
        return str(path)

    return written
