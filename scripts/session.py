"""What the administration scripts share: options, accounts, contracts, refusals, dry runs.

Every command is a function: call it from `brownie console`, or `brownie run <file> <function> <arguments>`, where
options are words like `account=ops` and `dry_run=yes`:

    account        a keystore id (`brownie accounts list`), or the number of an account that the chain itself holds;
                   without it, the first of those, on local chains only; with `clef`, the signer's address
    password_file  a file with the keystore's password, for runs without a terminal; without it one is asked for
    clef           the socket of a running clef, which asks its own user, or a hardware wallet, for every signature
    key            a file with a private key, on local chains only
    dry_run        yes: check everything and say what would happen, send nothing
    confirmations  blocks to wait for; without it 1 on local chains, 3 on others
    chain_id       the chain that is meant; another one is refused
    deployment     the file with the contracts' addresses; deployments/<network>.json without it
"""

from __future__ import annotations

import functools
import inspect
import json
import re
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from brownie import (
    BallotBox,
    DiscoveryLens,
    NodeRegistry,
    OwnerCurator,
    Parameters,
    ParameterVote,
    TokenCurator,
    chain,
    network,
    web3,
)
from brownie._config import CONFIG
from brownie.network.contract import ProjectContract
from eth_abi import decode
from eth_utils import keccak, to_checksum_address

from scripts import anvil, live, signers
from scripts.refusal import Refusal as Refusal  # the commands take both from here
from scripts.signers import address as address

ROOT = Path(__file__).resolve().parent.parent
ALL_KINDS = 0
"""A curator's number for every kind at once."""
OF_TOKENS = frozenset({"SafeERC20FailedOperation"})
"""Errors in a contract's interface that say what a token did."""
DEPLOYMENTS = ROOT / "deployments"
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


@dataclass
class Session:
    """Who sends, to which contracts, and whether really."""

    sender: object
    dry_run: bool = False
    confirmations: int = 1
    deployment: Path | None = None
    _contracts: dict = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        *,
        account=None,
        password_file=None,
        clef=None,
        key=None,
        dry_run=False,
        confirmations=None,
        chain_id=None,
        deployment=None,
    ) -> Session:
        """From the options that every command takes."""
        live.check_chain(chain_id)
        wanted = (1 if chain.id in live.LOCAL_CHAINS else 3) if confirmations is None else confirmations
        return cls(
            sender=signers.sender_of(account, password_file=password_file, clef=clef, key=key),
            dry_run=yes(dry_run),
            confirmations=at_least(1, number(wanted, "confirmations"), "confirmations"),
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

    def check(self, contract, function: str, *arguments) -> None:
        """Refusal if the contract itself, not another one that it calls, has something against a call."""
        call = {
            "from": str(self.sender),
            "to": contract.address,
            "data": getattr(contract, function).encode_input(*arguments),
        }
        error = web3.provider.make_request("eth_estimateGas", [call]).get("error")
        own = [entry for entry in contract.abi if entry.get("name") not in OF_TOKENS]
        if error and (reason := own_reason(error, own)):
            raise Refusal(reason)

    def send(self, contract, function: str, *arguments, words: str):
        """Call a contract's function after trying it; None in a dry run. `words` say what it does, for people."""
        method = getattr(contract, function)
        gas = estimate(self.sender, contract, method.encode_input(*arguments))
        cost = live.afford(self.sender, gas)
        if self.dry_run:
            print(f"would {words}\n  {contract._name}.{function} from {self.sender}, {gas:,} gas{cost}")
            return None
        print(words)
        with live.refusals(self.sender):
            tx = method(*arguments, {"from": self.sender, "required_confs": 1})
            live.settle(tx.txid, self.confirmations)
        return tx


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


def contract_of(name: str, deployment: Path | None = None):
    """The deployed contract; Refusal if there is no record of it, or the record is of another chain."""
    container = CONTAINERS[name]
    if deployment is None and CONFIG.network_type == "development":
        if not len(container):
            raise Refusal(
                f"no {name} is deployed on this chain yet: `brownie run deploy`, in the console deploy.main()"
            )
        return container[-1]
    path, document = record_of(deployment)
    try:
        place = to_checksum_address(document["contracts"][name]["address"])
    except (ValueError, KeyError, TypeError) as error:
        if name in document.get("pending", ()):
            raise Refusal(f"{path} says that {name} is not deployed to the end: run the deployment again") from None
        raise Refusal(f"{path} is no record of a deployment of {name}: {error!r}") from None
    if not web3.eth.get_code(place):
        raise Refusal(f"{path} says that {name} is at {place}, but there is no contract: was the chain started anew?")
    return container.at(place, persist=False)


def record_of(path=None) -> tuple[Path, dict]:
    """A deployment's file and what is in it; Refusal if there is none for this chain."""
    active = network.show_active()
    path = Path(path) if path else DEPLOYMENTS / f"{active}.json"
    try:
        document = json.loads(path.read_text())
        chain_id, _ = document["chainId"], document["contracts"]
    except FileNotFoundError:
        raise Refusal(f"there is no {path}: `brownie run deploy main --network {active}` writes it") from None
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal(f"{path} is no record of a deployment: {error!r}") from None
    if chain_id != chain.id:
        raise Refusal(f"{path} is of chain {chain_id}, {active} is chain {chain.id}")
    return path, document


def estimate(sender, contract, calldata: str) -> int:
    """Gas of a call that would succeed; Refusal with the contract's reason if it would not."""
    call = {"from": str(sender), "to": contract.address, "data": calldata}
    response = web3.provider.make_request("eth_estimateGas", [call])
    if "error" in response:
        raise Refusal(explain(response["error"], contract.abi))
    return int(response["result"], 16)


def explain(error: dict, abi: list) -> str:
    """A node's error in words: the contract's own, if its data can be read."""
    if reason := own_reason(error, abi):
        return reason
    raw = _data(error)
    message = str(error.get("message", error))
    return f"{message} (0x{raw[:4].hex()})" if raw else message


def own_reason(error: dict, abi: list) -> str | None:
    """A node's error in the words of the contract; None if it is none of the contract's own errors."""
    raw = _data(error)
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
    return None


def _data(error: dict) -> bytes:
    """What a call reverted with; nothing if the error is another one."""
    data = error.get("data")
    if isinstance(data, dict):
        data = data.get("data")
    return bytes.fromhex(data.removeprefix("0x")) if isinstance(data, str) and len(data) >= 10 else b""


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


def at_least(least: int, value: int, what: str) -> int:
    """The number, if it is not too small."""
    if value < least:
        raise Refusal(f"{what} is {value}, expected {least} or more")
    return value


def yes(value) -> bool:
    """A choice from a word."""
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("yes", "true", "1"):
        return True
    if str(value).lower() in ("no", "false", "0"):
        return False
    raise Refusal(f"found {value!r}, expected yes or no")


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


def utc(unix_time: int) -> str:
    """A time for people."""
    return datetime.fromtimestamp(unix_time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def provider_of(registry, word) -> int:
    """A provider's number; Refusal if the registry has no such provider."""
    found = number(word, "provider")
    if not 1 <= found <= registry.providerCount():
        raise Refusal(
            f"there is no provider {found} in the registry at {registry.address}; there are {registry.providerCount()}"
        )
    return found


def kind_of(registry, name) -> int:
    """The registry's number of a kind, by name or number; Refusal if there is none."""
    text = str(name)
    kind = int(text) if text.isdecimal() else registry.kindOf(keccak(text=text))
    if not 1 <= kind <= registry.kindCount():
        raise Refusal(f"the registry knows no kind {text!r}; it is made by: brownie run kinds create {text}")
    return kind


def kind_or_all(registry, name) -> int:
    """A curator's number of a kind: the registry's, or the one for "all"."""
    return ALL_KINDS if str(name) in ("all", "0") else kind_of(registry, name)


def kind_text(kind: int) -> str:
    """A curator's number of a kind for people."""
    return f"kind {kind}" if kind else "all kinds"
