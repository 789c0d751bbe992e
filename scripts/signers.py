"""Who signs: an account of the chain, a key in a file, a keystore, or clef, which has the keys elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

from brownie import accounts, chain
from eth_utils import to_checksum_address

from scripts import live
from scripts.refusal import Refusal


def sender_of(account=None, *, password_file=None, clef=None, key=None):
    """The account that sends; Refusal if it cannot be told or must not be used here."""
    local = chain.id in live.LOCAL_CHAINS
    if key is not None:
        if not local:
            raise Refusal(f"a key in a file is for local chains only; this is chain {chain.id}: use account=<keystore>")
        return accounts.add(_private_key(Path(key)))
    if clef is not None:
        return _at_clef(str(clef), account)
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
    return _keystore(account, password_file)


def address(value) -> str:
    """An Ethereum address from a word or an account."""
    text = str(value)
    if not re.fullmatch(r"0x[0-9a-fA-F]{40}", text):
        raise Refusal(f"{text!r} is not an address: expected 0x and 40 hex digits")
    return to_checksum_address(text)


def _keystore(name: str, password_file):
    try:
        password = None if password_file is None else Path(password_file).read_text("utf-8").rstrip("\r\n")
    except OSError as error:
        raise Refusal(f"the password file {password_file} cannot be read: {error.strerror}") from None
    try:
        return accounts.load(name, password)
    except FileNotFoundError:
        raise Refusal(f"there is no keystore {name!r}; `brownie accounts list` shows what there is") from None
    except ValueError:
        raise Refusal(f"the keystore {name!r} stays locked: the password is not the right one") from None
    except EOFError:
        raise Refusal(f"the keystore {name!r} is locked, and nobody is here to ask: use password_file=") from None


def _at_clef(socket: str, account):
    if not Path(socket).exists():
        raise Refusal(f"there is no clef at {socket}: start it, and name its clef.ipc")
    try:
        accounts.connect_to_clef(socket)
    except (OSError, ValueError) as error:
        raise Refusal(f"clef at {socket} does not show its accounts: {error}") from None
    if account is None:
        raise Refusal("say which of clef's accounts: account=0x...")
    wanted = address(account)
    if wanted not in accounts:
        raise Refusal(f"clef at {socket} does not show {wanted}")
    return accounts.at(wanted)


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
