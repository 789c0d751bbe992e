"""What the administration scripts share: options, accounts, contracts, refusals, dry runs.

Every command is a function: call it from `brownie console`, or `brownie run <file> <function> <arguments>`, where
options are words like `account=ops` and `dry_run=yes`:

    account        a keystore id (`brownie accounts list`), or the number of an account that the chain itself holds;
                   without it, the first of those, on local chains only
    key            a file with a private key, on local chains only
    dry_run        yes: check everything and say what would happen, send nothing
    confirmations  blocks to wait for; 1 without it
    deployment     the file with the contracts' addresses; deployments/<network>.json without it
"""

from __future__ import annotations

import functools
import inspect
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from brownie import (
    BallotBox,
    DiscoveryLens,
    NodeRegistry,
    OwnerCurator,
    Parameters,
    ParameterVote,
    TokenCurator,
    accounts,
    chain,
    network,
    web3,
)
from brownie._config import CONFIG
from brownie.network.contract import ProjectContract
from eth_abi import decode
from eth_utils import keccak, to_checksum_address

from scripts import anvil

ROOT = Path(__file__).resolve().parent.parent
DEPLOYMENTS = ROOT / "deployments"
LOCAL_CHAINS = frozenset((1337, 31337))
CONTAINERS = {
    "NodeRegistry": NodeRegistry,
    "OwnerCurator": OwnerCurator,
    "TokenCurator": TokenCurator,
    "BallotBox": BallotBox,
    "Parameters": Parameters,
    "ParameterVote": ParameterVote,
    "DiscoveryLens": DiscoveryLens,
}

anvil.install(web3)
# Brownie would write each contract to build/deployments/<chain id>/ and load it at every later start; on a local chain
# that was started anew it then stops with ContractNotFound. The record is ours: deployments/<network>.json.
ProjectContract._save_deployment = lambda self: None


class Refusal(Exception):
    """The command was not carried out; the text says why and what to do."""


@dataclass
class Session:
    """Who sends, to which contracts, and whether really."""

    sender: object
    dry_run: bool = False
    confirmations: int = 1
    deployment: Path | None = None
    _contracts: dict = field(default_factory=dict)

    @classmethod
    def open(cls, *, account=None, key=None, dry_run=False, confirmations=1, deployment=None) -> Session:
        """From the options that every command takes."""
        return cls(
            sender=sender_of(account, key),
            dry_run=yes(dry_run),
            confirmations=number(confirmations, "confirmations"),
            deployment=Path(deployment) if deployment else None,
        )

    @property
    def registry(self):
        return self._contract("NodeRegistry")

    @property
    def curator(self):
        return self._contract("OwnerCurator")

    def contract(self, name: str):
        """Another contract of the deployment, by its name."""
        return self._contract(name)

    def _contract(self, name: str):
        if name not in self._contracts:
            self._contracts[name] = contract_of(name, self.deployment)
        return self._contracts[name]

    def send(self, contract, function: str, *arguments, words: str):
        """Call a contract's function after trying it; None in a dry run. `words` say what it does, for people."""
        method = getattr(contract, function)
        gas = estimate(self.sender, contract, method.encode_input(*arguments))
        if self.dry_run:
            print(f"would {words}\n  {contract._name}.{function} from {self.sender}, {gas:,} gas")
            return None
        print(words)
        return method(*arguments, {"from": self.sender, "required_confs": self.confirmations})


def command(function):
    """Make a function a command: words from the shell become options, a refusal ends a run with one line."""

    signature = inspect.signature(function)
    own = {name for name, parameter in signature.parameters.items() if parameter.kind is parameter.KEYWORD_ONLY}
    known = own | set(inspect.signature(Session.open).parameters)

    @functools.wraps(function)
    def run(*words, **options):
        try:
            positional, named = split_words(words, known)
            return function(*positional, **{**named, **options})
        except Refusal as refusal:
            if CONFIG.mode != "run":
                raise
            sys.exit(f"refused: {refusal}")
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise  # not about our arguments
            if CONFIG.mode != "run":
                raise
            sys.exit(f"usage: {function.__name__}{signature}\n{error}")

    return run


def split_words(words, known: set[str]) -> tuple[list, dict]:
    """Positional arguments and `name=value` options; only words that start with a known option's name are those."""
    positional, named = [], {}
    for word in words:
        name, equals, value = word.partition("=") if isinstance(word, str) else ("", "", "")
        name = name.lstrip("-").replace("-", "_")
        if equals and name in known:
            named[name] = value
        else:
            positional.append(word)
    return positional, named


def sender_of(account=None, key=None):
    """The account that sends; Refusal if it cannot be told or must not be used here."""
    local = chain.id in LOCAL_CHAINS
    if key is not None:
        if not local:
            raise Refusal(f"a key in a file is for local chains only; this is chain {chain.id}: use account=<keystore>")
        return accounts.add(_private_key(Path(key)))
    if account is None or (isinstance(account, int) or (isinstance(account, str) and account.isdecimal())):
        index = int(account or 0)
        if not local:
            raise Refusal(
                f"say who sends: account=<keystore id>; `brownie accounts list` shows them (chain {chain.id})"
            )
        if index >= len(accounts):
            raise Refusal(f"the chain holds {len(accounts)} accounts, there is no number {index}")
        return accounts[index]
    if not isinstance(account, str):
        return account  # an account object, from the console
    if account.startswith("0x"):
        wanted = address(account)
        if wanted not in accounts:
            raise Refusal(f"no key for {wanted} is loaded; use account=<keystore id>")
        return accounts.at(wanted)
    try:
        return accounts.load(account)
    except FileNotFoundError:
        raise Refusal(f"there is no keystore {account!r}; `brownie accounts list` shows what there is") from None


def _private_key(path: Path) -> str:
    try:
        text = path.read_text("ascii").strip().removeprefix("0x")
        if len(bytes.fromhex(text)) != 32:
            raise ValueError
    except OSError as error:
        raise Refusal(f"the key file {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise Refusal(f"the key file {path} does not hold 64 hex digits") from None
    return "0x" + text


def contract_of(name: str, deployment: Path | None = None):
    """The deployed contract; Refusal if there is no record of it, or the record is of another chain."""
    container = CONTAINERS[name]
    active = network.show_active()
    path = deployment or DEPLOYMENTS / f"{active}.json"
    if deployment is None and CONFIG.network_type == "development":
        if not len(container):
            raise Refusal(
                f"no {name} is deployed on this chain yet: `brownie run deploy`, in the console deploy.main()"
            )
        return container[-1]
    try:
        document = json.loads(path.read_text())
        place = to_checksum_address(document["contracts"][name]["address"])
        chain_id = document["chainId"]
    except FileNotFoundError:
        raise Refusal(f"there is no {path}: `brownie run deploy main --network {active}` writes it") from None
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal(f"{path} is no record of a deployment: {error!r}") from None
    if chain_id != chain.id:
        raise Refusal(f"{path} is of chain {chain_id}, {active} is chain {chain.id}")
    if not web3.eth.get_code(place):
        raise Refusal(f"{path} says that {name} is at {place}, but there is no contract: was the chain started anew?")
    return container.at(place, persist=False)


def estimate(sender, contract, calldata: str) -> int:
    """Gas of a call that would succeed; Refusal with the contract's reason if it would not."""
    call = {"from": str(sender), "to": contract.address, "data": calldata}
    response = web3.provider.make_request("eth_estimateGas", [call])
    if "error" in response:
        raise Refusal(explain(response["error"], contract.abi))
    return int(response["result"], 16)


def explain(error: dict, abi: list) -> str:
    """A node's error in words: the contract's own, if its data can be read."""
    data = error.get("data")
    if isinstance(data, dict):
        data = data.get("data")
    if not isinstance(data, str) or len(data) < 10:
        return str(error.get("message", error))
    raw = bytes.fromhex(data.removeprefix("0x"))
    for entry in abi:
        if entry["type"] != "error":
            continue
        types = [parameter["type"] for parameter in entry["inputs"]]
        if keccak(text=f"{entry['name']}({','.join(types)})")[:4] != raw[:4]:
            continue
        values = decode(types, raw[4:])
        pairs = zip((parameter["name"] for parameter in entry["inputs"]), values, strict=True)
        said = ", ".join(f"{name} {_shown(value)}" for name, value in pairs)
        reason = _notices().get(entry["name"])
        named = f"{entry['name']}({said})"
        return f"{reason}: {named}" if reason else named
    return f"{error.get('message')} ({data[:10]})"


@functools.cache
def _notices() -> dict[str, str]:
    """What the interfaces say of their errors: "Thrown when <this>"."""
    notice = re.compile(r"/// @notice Thrown (?:when|while) ([^\n]*)\.\n\s*error (\w+)\(")
    return {
        name: reason
        for path in sorted((ROOT / "interfaces").glob("*.sol"))
        for reason, name in notice.findall(path.read_text())
    }


def _shown(value) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)


def number(value, what: str) -> int:
    """A whole number from a word."""
    try:
        return int(value)
    except (TypeError, ValueError):
        raise Refusal(f"{what} is {value!r}, expected a number") from None


def yes(value) -> bool:
    """A choice from a word."""
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("yes", "true", "1"):
        return True
    if str(value).lower() in ("no", "false", "0"):
        return False
    raise Refusal(f"found {value!r}, expected yes or no")


def address(value) -> str:
    """An Ethereum address from a word or an account."""
    text = str(value)
    if not re.fullmatch(r"0x[0-9a-fA-F]{40}", text):
        raise Refusal(f"{text!r} is not an address: expected 0x and 40 hex digits")
    return to_checksum_address(text)


def moment(value, now: int) -> int:
    """A Unix time from a word: itself, or from now on "90d", "12h", "30m", "45s"."""
    text = str(value)
    if text.isdecimal():
        return int(text)
    found = re.fullmatch(r"(\d+)([dhms])", text)
    if found is None:
        raise Refusal(f"{text!r} is no time: expected Unix seconds, or 90d, 12h, 30m, 45s from now")
    return now + int(found[1]) * {"d": 86_400, "h": 3_600, "m": 60, "s": 1}[found[2]]


def present() -> int:
    """The time of the latest block."""
    return int(chain[-1].timestamp)


def kind_of(registry, name) -> int:
    """The registry's number of a kind, by name or number; Refusal if there is none."""
    text = str(name)
    kind = int(text) if text.isdecimal() else registry.kindOf(keccak(text=text))
    if not 1 <= kind <= registry.kindCount():
        raise Refusal(f"the registry knows no kind {text!r}; it is made by: brownie run kinds create {text}")
    return kind
