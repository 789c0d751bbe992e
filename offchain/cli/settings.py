"""Configuration: read here, from files and the environment, and nowhere else.

    <home>/config.toml      settings of this machine; every one has a default but [chain] network and rpc
    deployments/<network>.json    the addresses of the contracts and the blocks they were deployed in
    WAYPOST_<SECTION>_<KEY>       one setting, over the file's; lists separated by commas
    WAYPOST_RPC, WAYPOST_NETWORK  short for WAYPOST_CHAIN_RPC, WAYPOST_CHAIN_NETWORK
    options of the command        over both

What comes out are the records of `offchain.config`. A key that is not known, a value of another type or out of range,
is a ConfigError that names the file, the key and what was expected.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from offchain.config import ChainConfig, ClientConfig, ContractRef, DiscoveryConfig, MailserverConfig
from offchain.errors import ConfigError
from offchain.types import MAILSERVER, Address, Kind, parse_kind

CONFIG_FILE = "config.toml"
POLICY_FILE = "policy.json"
DAEMON_FILE = "serve.json"
KEY_FILE = "node.key"
HEALTH_FILE = "health.json"
NODES_FILE = "nodes.sqlite"
MAX_FILE = 1 << 20
"""Bytes of the longest configuration or deployment file."""

Overrides = Mapping[str, Mapping[str, object]]
Values = dict[str, dict[str, object]]
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where the contracts of a network are: the content of deployments/<network>.json."""

    network: str
    chain_id: int
    contracts: Mapping[str, ContractRef]
    snapshot: Path | None = None
    """<network>.snapshot beside the file, if there is one."""

    @property
    def registry(self) -> ContractRef:
        """The NodeRegistry."""
        if "NodeRegistry" not in self.contracts:
            raise ConfigError(f"the deployment {self.network} names no NodeRegistry")
        return self.contracts["NodeRegistry"]

    @property
    def curators(self) -> dict[str, ContractRef]:
        """The contracts that give verdicts, by name."""
        return {name: ref for name, ref in self.contracts.items() if name.endswith("Curator")}


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """The loopback interface of `waypost serve`."""

    host: str = "127.0.0.1"
    """Loopback addresses only."""

    port: int = 0
    """TCP port; 0 takes a free one and names it in serve.json."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the files, the environment and the options said."""

    home: Path
    values: Values

    @property
    def policy_path(self) -> Path:
        """The user's choice of whom to trust."""
        return self.home / POLICY_FILE

    @property
    def daemon_path(self) -> Path:
        """Where a running `serve` says how to reach it."""
        return self.home / DAEMON_FILE

    def path(self, value: object) -> Path:
        """A path from a setting: relative ones are under the home folder."""
        path = Path(str(value)).expanduser()
        return path if path.is_absolute() else self.home / path

    def key_path(self) -> Path:
        """The node's private key."""
        return self.path(self._values("node").get("key", KEY_FILE))

    def deployment(self) -> Deployment:
        """The contracts to follow."""
        chain = self._values("chain")
        if "deployment" in chain:
            return read_deployment(self.path(chain["deployment"]))
        if "network" not in chain:
            raise ConfigError(
                f'no network is chosen: write [chain] network = "..." into {self.home / CONFIG_FILE}, '
                "set WAYPOST_NETWORK, or give --network"
            )
        return find_deployment(str(chain["network"]), self.home)

    def chain(self) -> ChainConfig:
        """The registry to follow and the endpoints to ask."""
        chain = self._values("chain")
        deployment = self.deployment()
        if not chain.get("rpc"):
            raise ConfigError(
                f'no endpoint is given for {deployment.network}: write [chain] rpc = ["http://..."] into '
                f"{self.home / CONFIG_FILE}, set WAYPOST_RPC, or give --rpc"
            )
        elsewhere = ("network", "deployment", "database", "snapshot")
        fields = {name: value for name, value in chain.items() if name not in elsewhere}
        snapshot = self.path(chain["snapshot"]) if chain.get("snapshot") else deployment.snapshot
        return _build(
            ChainConfig,
            {
                **fields,
                "chain_id": deployment.chain_id,
                "registry": deployment.registry,
                "curators": tuple(deployment.curators.values()),
                "database": self.path(chain.get("database", "chain.sqlite")),
                "snapshot": snapshot,
            },
        )

    def discovery(self, **changes: object) -> DiscoveryConfig:
        """This node on the discovery network."""
        section = self._values("discovery")
        database = self.path(section.get("database", NODES_FILE))
        return _build(DiscoveryConfig, {**section, "database": database, **changes})

    def mailserver(self, **changes: object) -> MailserverConfig:
        """This mail server."""
        section = self._values("mailserver")
        return _build(MailserverConfig, {**section, "data": self.path(section.get("data", "archive")), **changes})

    def client(self, **changes: object) -> ClientConfig:
        """This client's pool."""
        fields = {"kind": MAILSERVER, "health": self.home / HEALTH_FILE, **self._values("client")}
        return _build(ClientConfig, {**fields, **changes})

    def http(self) -> HttpConfig:
        """The loopback interface."""
        config = _build(HttpConfig, self._values("http"))
        if config.host not in ("127.0.0.1", "::1", "localhost"):
            raise ConfigError(f"[http] host is {config.host!r}: the interface is for this machine, so 127.0.0.1 or ::1")
        return config

    def _values(self, name: str) -> dict[str, object]:
        return self.values.get(name, {})


def load(home: Path, *, environment: Mapping[str, str] | None = None, overrides: Overrides | None = None) -> Settings:
    """The settings under a home folder. A missing config.toml is an empty one."""
    home = home.expanduser().absolute()
    values: Values = {}
    file = home / CONFIG_FILE
    if file.exists():
        _merge(values, _read_toml(file), f"{file}")
    _merge(values, _from_environment(os.environ if environment is None else environment), "the environment")
    _merge(values, {name: dict(section) for name, section in (overrides or {}).items()}, "the options")
    return Settings(home, values)


def find_deployment(network: str, home: Path) -> Deployment:
    """deployments/<network>.json: under the home folder, the working folder, or beside the package."""
    if not network or any(character not in _NETWORK_CHARACTERS for character in network):
        raise ConfigError(f"network is {network!r}, expected a name of letters, digits, '-' and '_'")
    folders = [home / "deployments", Path.cwd() / "deployments", Path(__file__).parents[2] / "deployments"]
    for folder in folders:
        if (path := folder / f"{network}.json").exists():
            return read_deployment(path)
    known = sorted({path.stem for folder in folders if folder.is_dir() for path in folder.glob("*.json")})
    raise ConfigError(
        f"there is no deployments/{network}.json; known networks: {', '.join(known) or 'none'}. "
        "A deployment is written by: brownie run deploy --network <network>"
    )


def read_deployment(path: Path) -> Deployment:
    """The content of a deployment file; ConfigError says what is wrong with it."""
    try:
        document = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None
    try:
        contracts = {
            str(name): ContractRef(_address(ref["address"]), _natural(ref["block"]))
            for name, ref in document["contracts"].items()
        }
        shipped = path.with_suffix(".snapshot")
        return Deployment(
            str(document["network"]), _natural(document["chainId"]), contracts, shipped if shipped.exists() else None
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ConfigError(
            f"{path} is not a deployment: {what}; expected "
            '{"network": ..., "chainId": ..., "contracts": {name: {"address": ..., "block": ...}}}'
        ) from None


# One reader per type: takes what TOML, a command-line option or (a text) the environment gives.


def _natural(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is not a whole number from 0")
    return value


def _port(value: object) -> int:
    if (port := _natural(value)) > 0xFFFF:
        raise ValueError(f"{value!r} is not a port from 0 to 65535")
    return port


def _positive(value: object) -> int:
    if (number := _natural(value)) == 0:
        raise ValueError("0 is not a whole number from 1")
    return number


def _seconds(value: object) -> float:
    number = _real(value)
    if number <= 0:
        raise ValueError(f"{value!r} is not a time in seconds, above 0")
    return number


def _real(value: object) -> float:
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else -1.0
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e15:
        raise ValueError(f"{value!r} is not a number from 0")
    return number


def _flag(value: object) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "1", "yes", "false", "0", "no"):
        return value.lower() in ("true", "1", "yes")
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is not true or false")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not a text")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple)) or not all(isinstance(part, str) and part for part in value):
        raise ValueError(f"{value!r} is not a list of texts")
    return tuple(value)


def _urls(*schemes: str) -> Callable[[object], tuple[str, ...]]:
    def read(value: object) -> tuple[str, ...]:
        urls = _texts(value)
        for url in urls:
            if not url.startswith(schemes):
                raise ValueError(f"{url!r} does not begin with {' or '.join(schemes)}")
        return urls

    return read


def _records(value: object) -> tuple[str, ...]:
    texts = _texts(value)
    for text in texts:
        if not text.startswith("enr:"):
            raise ValueError(f"{text[:40]!r} is not a record (enr:...)")
    return texts


def _protocol_id(value: object) -> bytes:
    text = _text(value)
    if len(text) != 6 or not text.isascii():
        raise ValueError(f"{value!r} is not six ASCII characters")
    return text.encode()


def _kind(value: object) -> Kind:
    return parse_kind(_text(value))


def _finality(value: object) -> str:
    text = str(value) if type(value) is int else _text(value)
    if text not in ("finalized", "safe", "latest") and not (text.isascii() and text.isdigit()):
        raise ValueError(f'{value!r} is not "finalized", "safe", "latest" or a number of confirmations')
    return text


def _address(value: object) -> Address:
    text = _text(value)
    if not text.startswith("0x") or len(text) != 42:
        raise ValueError(f"{value!r} is not an address (0x and 40 hex digits)")
    try:
        return Address(bytes.fromhex(text[2:]))
    except ValueError:
        raise ValueError(f"{value!r} is not an address (0x and 40 hex digits)") from None


_NETWORK_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")

_READERS: dict[str, Callable[[object], object]] = {
    "int": _natural,
    "float": _real,
    "bool": _flag,
    "str": _text,
    "str | None": _text,
    "tuple[str, ...]": _texts,
}
"""For a field of a record by its type, unless its name is better known below."""


def _section(
    record: type, elsewhere: frozenset[str], known: dict[str, Callable[[object], object]]
) -> dict[str, Callable[[object], object]]:
    """The settings of a section: the fields of its record, but for those that come from elsewhere."""
    readers = {
        field.name: _READERS[str(field.type)]
        for field in dataclasses.fields(record)
        if field.name not in elsewhere and field.name not in known
    }
    return {**known, **readers}


SCHEMA: dict[str, dict[str, Callable[[object], object]]] = {
    "chain": _section(
        ChainConfig,
        frozenset({"chain_id", "registry", "curators"}),
        {
            "network": _text,
            "deployment": _text,
            "rpc": _urls("http://", "https://"),
            "websocket": _urls("ws://", "wss://"),
            "database": _text,
            "snapshot": _text,
            "finality": _finality,
            "poll_interval": _seconds,
            "request_timeout": _seconds,
            "range_blocks": _positive,
            "in_flight": _positive,
        },
    ),
    "node": {"key": _text},
    "discovery": _section(
        DiscoveryConfig,
        frozenset({"kinds", "tcp"}),
        {"port": _port, "bootnodes": _records, "database": _text, "protocol_id": _protocol_id},
    ),
    "mailserver": _section(
        MailserverConfig,
        frozenset(),
        {
            "data": _text,
            "port": _port,
            "retention_days": _positive,
            "max_archive_bytes": _positive,
            "max_archive_envelopes": _positive,
            "max_message_bytes": _positive,
            "max_peers": _positive,
            "max_waiting_requests": _positive,
            "workers": _positive,
            "requests_per_minute": _positive,
        },
    ),
    "client": _section(
        ClientConfig,
        frozenset({"health"}),
        {"kind": _kind, "pool_target": _positive, "connect_timeout": _seconds, "request_timeout": _seconds},
    ),
    "http": _section(HttpConfig, frozenset(), {"port": _port}),
}
"""Every section and key that may be set, and the reader of its value."""


def _merge(values: Values, new: Mapping[str, object], source: str) -> None:
    for name, section in new.items():
        if name not in SCHEMA:
            raise ConfigError(f"{source}: there is no section [{name}]{_near(name, SCHEMA)}")
        if not isinstance(section, Mapping):
            raise ConfigError(f"{source}: {name} is {section!r}, expected a section [{name}]")
        for key, value in section.items():
            reader = SCHEMA[name].get(key)
            if reader is None:
                raise ConfigError(f"{source}: [{name}] has no setting {key}{_near(key, SCHEMA[name])}")
            try:
                values.setdefault(name, {})[key] = reader(value)
            except ValueError as error:
                raise ConfigError(f"{source}: [{name}] {key}: {error}") from None


def _near(name: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"


def _from_environment(environment: Mapping[str, str]) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for short in ("RPC", "NETWORK"):
        if value := environment.get(f"WAYPOST_{short}"):
            found.setdefault("chain", {})[short.lower()] = value
    for name, value in environment.items():
        prefix, _, rest = name.partition("_")
        section, _, key = rest.partition("_")
        if prefix == "WAYPOST" and section.lower() in SCHEMA and key and value:
            found.setdefault(section.lower(), {})[key.lower()] = value
    return found


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ConfigError(f"{path} is larger than {MAX_FILE} bytes")
        return data.decode()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None


def _build(record: type[R], fields: Mapping[str, Any]) -> R:
    """A configuration record; defaults are the record's own."""
    return record(**fields)
