"""The contracts on a live network: a separate chain that holds no keys and makes blocks when it likes."""

from __future__ import annotations

import json
import signal

import pytest

from offchain.cli.settings import read_deployment
from scripts.sources import Mismatch, check_code, check_sent, compiled
from tests.support.chain_world import Unavailable
from tests.support.clef import Clef
from tests.support.live_chain import CHAIN_ID, PATIENCE, LiveChain, wait_until

CONFIRMATIONS = 2


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    try:
        chain = LiveChain(tmp_path_factory.mktemp("live"))
    except Unavailable as unavailable:
        pytest.skip(str(unavailable))
    yield chain
    chain.close()


@pytest.fixture(scope="module")
def record(live):
    return live.home / "record.json"


@pytest.fixture(scope="module")
def options(live, record):
    """Of every deployment here."""
    password = live.home / "password"
    return (
        "account=ops", f"password_file={password}", f"chain_id={CHAIN_ID}", f"confirmations={CONFIRMATIONS}",
        f"record={record}",
    )  # fmt: skip


def said(process, code=0):
    """What a process printed until it ended."""
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, output
    return output


@pytest.fixture(scope="module")
def tried(live, options, record):
    """What a dry run says."""
    output = said(live.brownie("deploy", "main", *options, "dry_run=yes"))
    assert not record.exists()
    assert (live.nonce(), live.waiting()) == (0, 0)
    return output


@pytest.fixture(scope="module")
def begun(live, options, record, tried):
    """A deployment that was killed when its second transaction was sent, and before that was in a block."""
    process = live.brownie("deploy", "main", *options)
    wait_until(lambda: live.waiting() == 1)
    live.mine()
    wait_until(lambda: live.nonce() == 1)
    live.mine(CONFIRMATIONS)
    wait_until(lambda: live.waiting() == 1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return json.loads(record.read_text())


@pytest.fixture(scope="module")
def deployed(live, options, record, begun):
    """The same command again."""
    live.mine()
    with live.blocks():
        output = said(live.brownie("deploy", "main", *options))
    return json.loads(record.read_text()), output


def test_a_dry_run_says_where_and_what_it_costs(tried, begun):
    assert f"would deploy NodeRegistry to chain {CHAIN_ID} at {begun['contracts']['NodeRegistry']['address']}" in tried
    assert f"would deploy OwnerCurator to chain {CHAIN_ID} at {begun['pending']['OwnerCurator']['address']}" in tried
    assert "of 10.000000 ether; nothing was sent" in tried


def test_a_record_names_only_what_is_confirmed(begun):
    assert set(begun["contracts"]) == {"NodeRegistry"}
    assert set(begun["pending"]) == {"OwnerCurator"}


def test_a_deployment_that_died_is_finished_without_sending_anything_twice(live, deployed, begun, record):
    document, output = deployed

    assert live.nonce() == 2
    assert "pending" not in document
    assert document["contracts"]["NodeRegistry"] == begun["contracts"]["NodeRegistry"]
    assert document["contracts"]["OwnerCurator"]["address"] == begun["pending"]["OwnerCurator"]["address"]
    assert "NodeRegistry is at" in output
    for name, contract in read_deployment(record).contracts.items():
        transaction = live.web3.eth.get_transaction_receipt(document["contracts"][name]["transaction"])
        assert (transaction["blockNumber"], transaction["status"]) == (contract.block, 1)


def test_commands_refuse_what_is_not_meant(live, options, record, deployed):
    """As from the console: each refusal in a line of its own, and nothing is sent."""
    height = live.web3.eth.block_number
    script = f"""
from scripts import deploy, providers
from scripts.session import Refusal
right = dict(account="ops", password_file={str(live.home / "password")!r}, deployment={str(record)!r})
def refused(command, *arguments, **options):
    try:
        command(*arguments, **options)
    except Refusal as refusal:
        print("REFUSED", refusal)
    else:
        print("CARRIED OUT")
refused(deploy.main, record={str(record)!r}, chain_id={CHAIN_ID}, account="ops", password_file=right["password_file"])
refused(deploy.main, record={str(live.home / "other.json")!r}, account="ops", password_file=right["password_file"])
refused(providers.create, "x", **right, chain_id=1)
refused(providers.create, "x", deployment=right["deployment"])
refused(providers.create, "x", **{{**right, "password_file": {str(live.home / "wrong")!r}}})
refused(providers.create, "x", account="ops", deployment=right["deployment"])
refused(providers.create, "x", account="nobody", deployment=right["deployment"])
refused(providers.create, "x", **{{**right, "account": "poor"}})
refused(providers.create, "x", key="some file", deployment=right["deployment"])
refused(providers.create, "x", **right, confirmations=0)
refused(providers.create, "x", **right, clef="/nowhere/clef.ipc")
providers.create("x", **right, dry_run=True)
"""
    output = said(live.session(script))

    assert "CARRIED OUT" not in output
    reasons = [line.partition("REFUSED ")[2] for line in output.splitlines() if "REFUSED" in line]
    assert len(reasons) == len(WORDS), output
    for reason, expected in zip(reasons, WORDS, strict=True):
        assert expected in reason
    assert "would create provider 1" in output
    assert "of 9.9" in output
    assert (live.nonce(), live.waiting(), live.web3.eth.block_number) == (2, 0, height)


WORDS = (
    "has both already",
    f"say chain_id={CHAIN_ID} if that is the one you mean",
    f"waypost is chain {CHAIN_ID} at this endpoint, and chain 1 is meant",
    "say who sends: account=<keystore id>",
    "the keystore 'ops' stays locked: the password is not the right one",
    "the keystore 'ops' is locked, and nobody is here to ask",
    "there is no keystore 'nobody'",
    "has 0.000000 ether, and",
    "a key in a file is for local chains only",
    "confirmations is 0, expected 1 or more",
    "there is no clef at /nowhere/clef.ipc",
)


def test_a_transaction_that_leaves_the_chain_is_not_counted(live, record, deployed):
    """Seen in a block once, and then that block is gone, and the transaction with it."""
    process = live.session(f"""
from scripts import providers
from scripts.session import Refusal
try:
    providers.create(
        "x", account="ops", password_file={str(live.home / "password")!r}, deployment={str(record)!r},
        confirmations=3,
    )
except Refusal as refusal:
    print("REFUSED", refusal)
""")
    wait_until(lambda: live.waiting() == 1)
    snapshot = live.request("evm_snapshot")
    live.mine()
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "1 of 3 confirmations" in line:
            break
    live.request("evm_revert", snapshot)
    live.request("anvil_dropAllTransactions")
    live.mine()
    lines.append(said(process))

    assert "REFUSED transaction 0x" in "".join(lines)
    assert "is in no block any more and is not waiting: the chain was reorganised" in "".join(lines)
    assert live.nonce() == 2


def test_a_transaction_that_moves_to_another_block_is_waited_for(live, record, deployed):
    process = live.session(f"""
from scripts import providers
print("PROVIDER", providers.create(
    "x", account="ops", password_file={str(live.home / "password")!r}, deployment={str(record)!r}, confirmations=3,
))
""")
    wait_until(lambda: live.waiting() == 1)
    ((transaction,),) = (each.values() for each in live.request("txpool_content")["pending"].values())
    raw = live.request("eth_getRawTransactionByHash", transaction["hash"])
    snapshot = live.request("evm_snapshot")
    live.mine()
    for line in process.stdout:
        if "1 of 3 confirmations" in line:
            break
    live.request("evm_revert", snapshot)
    if not live.waiting():
        live.request("eth_sendRawTransaction", raw)
    live.mine()
    assert process.poll() is None
    live.mine(2)

    assert "PROVIDER 1" in said(process)
    assert live.nonce() == 3


@pytest.fixture(scope="module")
def curated(live, options, record, deployed):
    """The token-curated registry beside it, its terms changed by vote, by the command line."""
    token = """
from brownie import TestToken, accounts
owner = accounts.load("ops", "correct horse")
print("TOKEN", TestToken.deploy(10**27, {"from": owner}))
"""
    with live.blocks():
        place = said(live.session(token)).partition("TOKEN ")[2].split()[0]
        said(live.brownie("deploy_token_curator", "main", *options, "confirmations=1", f"token={place}", "by=vote"))
    return json.loads(record.read_text())["contracts"]


def test_contracts_can_be_verified_from_what_is_written(live, record, curated):
    """What an explorer does: compile the file alone, and compare with what was sent and with what is there."""
    names = ("NodeRegistry", "TokenCurator")
    assert len(curated) == 7

    output = said(live.brownie("verification", "main", *names, f"record={record}"))

    folder = record.with_suffix(".verification")
    index = json.loads((folder / "index.json").read_text())
    assert index["chainId"] == CHAIN_ID
    assert output.count("byte by byte") == len(names)
    for name in names:
        form = index["contracts"][name]
        document = json.loads((folder / form["input"]).read_text())
        assert all("content" in source for source in document["sources"].values())
        transaction = live.web3.eth.get_transaction(curated[name]["transaction"])
        assert transaction["input"].hex().endswith(form["constructorArguments"])
        assert form["contract"].split(":")[0] in document["sources"]
    # One of them by hand: the one with most immutables.
    compiled_alone = compiled(json.loads((folder / "TokenCurator.json").read_text()))["TokenCurator"]
    transaction = live.web3.eth.get_transaction(curated["TokenCurator"]["transaction"])
    arguments = bytes.fromhex(index["contracts"]["TokenCurator"]["constructorArguments"])
    check_sent(compiled_alone, bytes(transaction["input"]), arguments)
    code = bytes(live.web3.eth.get_code(curated["TokenCurator"]["address"]))
    check_code(compiled_alone, code)
    assert len(compiled_alone["evm"]["deployedBytecode"]["immutableReferences"]) == 4
    with pytest.raises(Mismatch, match="the code differs from byte 0 on"):
        check_code(compiled_alone, b"\xff" + code[1:])
    with pytest.raises(Mismatch, match="other code or other arguments"):
        check_sent(compiled_alone, bytes(transaction["input"]), arguments[:-1] + b"\xff")


def test_clef_signs_in_place_of_a_keystore(live, record, deployed, tmp_path):
    """A stand-in for clef at its socket, with a key of its own: what is sent carries that key's signature."""
    with Clef(tmp_path / "clef.ipc", live.owner) as clef, live.blocks():
        before = live.nonce()
        output = said(
            live.brownie(
                "kinds", "create", "pushserver", f"clef={clef.path}", f"account={live.owner.address}",
                f"deployment={record}", "confirmations=1",
            )
        )  # fmt: skip

        assert "create kind 2" in output
        assert live.nonce() == before + 1
        assert clef.signed == 1
        clef.willing = False
        output = said(
            live.brownie(
                "kinds", "create", "archive", f"clef={clef.path}", f"account={live.owner.address}",
                f"deployment={record}",
            ),
            code=1,
        )  # fmt: skip
        assert "refused: it was not carried out: Request denied" in output
