"""How much gas does each call of the contracts cost?

One transaction each, in the steady state: every counter, list and mapping that is touched has been written before. The
chain is an anvil of its own on a free port; gas does not depend on machine or load.

    python bench/gas.py [--json] [--seed N] [--save]

`--save` also writes bench/results/gas.json, which tests/contracts/test_gas.py holds the contracts to.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import socket
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "gas.json"
sys.path.insert(0, str(ROOT))

from bench import _gas_curation  # noqa: E402
from bench._report import Figure, report  # noqa: E402
from offchain.keys import PrivateKey  # noqa: E402
from offchain.possession import Terms, authorize  # noqa: E402
from offchain.types import MAILSERVER, Address, KindId, ProviderId  # noqa: E402
from scripts import anvil  # noqa: E402
from scripts.lists import predecessors, walk  # noqa: E402

# "remove 100, no two of them neighbours" is without a goal: what it would be compared with has no list, or removes in
# order. Neighbours share the write to their predecessor; without any, each removal writes one slot more, at about 5,000
# gas. Whoever leaves takes all, and prune goes through the list, so this is rare. It is measured all the same, and its
# growth fails the test like any other's.
GOALS = {
    "add 1 node with proof": 75_000,
    "add 100 nodes with proofs": 3_200_000,
    "renew 100 nodes": 860_000,
    "remove 1 node": 50_000,
    "remove 100 nodes": 1_050_000,
    **_gas_curation.GOALS,
}
KIND = KindId(1)
DAY = 86_400
METADATA = "ipfs://bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    with contextlib.redirect_stdout(io.StringIO() if options.json else sys.stderr):
        used = measured_on_own_chain(options.seed)
    if options.save:
        RESULTS.write_text(json.dumps(used, indent=2) + "\n")
    figures = {name: Figure(gas, "gas", f"<= {GOALS[name]}" if name in GOALS else "") for name, gas in used.items()}
    report("gas of the contracts", figures, options.json)


def measured_on_own_chain(seed: int) -> dict[str, int]:
    """Start a chain, measure, stop it."""
    os.environ["WAYPOST_TEST_PORT"] = str(_free_port())
    os.environ.setdefault("SOLCX_BINARY_PATH", str(ROOT / ".solcx"))
    tools = (ROOT / "node_modules" / ".bin", Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join((*map(str, tools), os.environ["PATH"]))
    from brownie import network, project, web3

    anvil.install(web3)
    loaded = project.load(str(ROOT))
    loaded.load_config()
    loaded._add_to_main_namespace()  # for the scripts that deploy the token curator
    network.connect("development")
    try:
        from brownie import accounts

        sender = accounts[0]
        terms = {"from": sender, "silent": True}
        registry = loaded.NodeRegistry.deploy(sender, terms)
        return measure(registry, loaded.OwnerCurator.deploy(sender, terms), accounts, seed)
    finally:
        network.disconnect()


def measure(registry, curator, accounts, seed: int = 1) -> dict[str, int]:
    """Gas of each call, by name. The contracts are new; the first account is guardian and owner."""
    from brownie import chain

    rng = random.Random(seed)
    admin, operator, stranger = accounts[:3]
    now = chain.time()
    expiry = now + 100 * DAY
    as_admin, as_operator, as_stranger = ({"from": who, "silent": True} for who in (admin, operator, stranger))
    used: dict[str, int] = {}

    def keys(count: int) -> list[PrivateKey]:
        return [PrivateKey(rng.randbytes(32)) for _ in range(count)]

    def proofs(nodes: list[PrivateKey], provider: int = 1) -> list[tuple]:
        registry_address = Address(bytes.fromhex(registry.address[2:]))
        result = []
        for key in nodes:
            node_id = key.public.node_id
            generation = registry.nodeOf(_hex(key.public.address))[4] + 1
            made = authorize(
                key,
                Terms(node_id, ProviderId(provider), MAILSERVER, KIND, generation, expiry, chain.id, registry_address),
            )
            result.append((_hex(node_id), expiry, _hex(made.r), _hex(made.vs)))
        return result

    def addresses(nodes: list[PrivateKey]) -> list[str]:
        return [_hex(key.public.address) for key in nodes]

    # Two providers, a list that is not empty, operators and curators that exist: the steady state.
    registry.createProvider(METADATA, as_admin)
    used["create provider (61-byte URI)"] = registry.createProvider(METADATA, as_admin).gas_used
    used["set operator"] = registry.setOperator(1, operator, True, as_admin).gas_used
    used["create kind"] = registry.createKind("pushserver", as_stranger).gas_used
    base = keys(150)
    registry.addNodes(1, KIND, expiry, proofs(base[:75]), as_admin)
    registry.addNodes(1, KIND, expiry, proofs(base[75:]), as_admin)

    one = keys(1)
    used["add 1 node with proof"] = registry.addNodes(1, KIND, expiry, proofs(one), as_admin).gas_used
    used["add 1 node with proof, by an operator"] = registry.addNodes(
        1, KIND, expiry, proofs(keys(1)), as_operator
    ).gas_used
    hundred = keys(100)
    used["add 100 nodes with proofs"] = registry.addNodes(1, KIND, expiry, proofs(hundred), as_admin).gas_used
    used["renew 1 node"] = registry.renewNodes(1, KIND, expiry + DAY, addresses(one), as_admin).gas_used
    used["renew 100 nodes"] = registry.renewNodes(1, KIND, expiry + DAY, addresses(hundred), as_admin).gas_used
    curator.setVerdict(1, KIND, 1, 0, as_admin)
    used["change a verdict"] = curator.setVerdict(1, KIND, 2, 0, as_admin).gas_used
    (name,) = addresses(one)
    registry.publishEnr(name, 1, rng.randbytes(150), as_admin)
    used["publish a record of 150 bytes"] = registry.publishEnr(name, 2, rng.randbytes(150), as_admin).gas_used

    def remove(nodes: list[str], terms: dict) -> int:
        order = [node for node, _ in walk(registry, 1, KIND)]
        return registry.removeNodes(1, KIND, nodes, predecessors(order, nodes), terms).gas_used

    in_order = [node for node, _ in walk(registry, 1, KIND)]
    used["remove 1 node"] = remove(in_order[10:11], as_admin)  # from the middle: a predecessor is written
    used["remove 100 nodes"] = remove(in_order[12:112], as_admin)
    registry.addNodes(1, KIND, expiry, proofs(keys(100)), as_admin)
    used["remove 100 nodes, no two of them neighbours"] = remove(
        [node for node, _ in walk(registry, 1, KIND)][:200:2], as_admin
    )
    return used | _gas_curation.measured(registry, accounts)


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
