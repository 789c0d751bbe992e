"""The stage of the demonstration: folders, keys and configuration of every actor, the programs they run.

Nothing here is special to the demonstration: each folder is a home folder as an operator or user would have one, and
each program is started with the command that they would type.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from offchain.errors import ConfigError
from offchain.keys import PrivateKey

PROJECT = Path(__file__).parents[3]
NETWORK = "waypost-demo"


@dataclass(frozen=True, slots=True)
class Player:
    """One actor's belongings."""

    name: str
    home: Path
    key: PrivateKey

    @property
    def node_id(self) -> str:
        """Its node id, 0x and 64 hex digits."""
        return "0x" + self.key.public.node_id.hex()

    @property
    def address(self) -> str:
        """Its name in the registry."""
        return "0x" + self.key.public.address.hex()


class Stage:
    """The folder of one demonstration and the programs that it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.rpc_port = free_port()
        self.waypost = _waypost()
        self.brownie = _program("brownie")
        self.anvil = _program("anvil")
        if not (PROJECT / "brownie-config.yaml").exists():
            raise ConfigError(f"the demonstration deploys contracts: it needs a checkout, and {PROJECT} is none")

    @property
    def rpc(self) -> str:
        """Where the chain answers."""
        return f"http://127.0.0.1:{self.rpc_port}"

    @property
    def deployment(self) -> Path:
        """Where the demonstration keeps the addresses of its contracts."""
        return self.folder / "deployment.json"

    def environment(self) -> dict[str, str]:
        """What every process is given: our environment without settings that are meant for us."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
        paths = [str(Path(sys.executable).parent), str(PROJECT / "node_modules" / ".bin"), kept.get("PATH", "")]
        return {
            **kept,
            "PATH": os.pathsep.join(paths),
            "SOLCX_BINARY_PATH": kept.get("SOLCX_BINARY_PATH", str(PROJECT / ".solcx")),
            "PYTHONUNBUFFERED": "1",
            "WAYPOST_RPC": self.rpc,
        }

    def player(self, name: str, config: Mapping[str, Mapping[str, object]]) -> Player:
        """A home folder with a new key and a configuration."""
        home = self.folder / name
        home.mkdir(parents=True)
        key = PrivateKey.generate()
        key.save(home / "node.key")
        (home / "config.toml").write_text(_toml(config))
        return Player(name, home, key)

    def chain_config(self) -> dict[str, object]:
        """The [chain] section of everybody."""
        return {
            "deployment": str(self.deployment),
            "rpc": [self.rpc],
            "websocket": [f"ws://127.0.0.1:{self.rpc_port}"],
            "finality": "finalized",
            "poll_interval": 1.0,
        }


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _toml(config: Mapping[str, Mapping[str, object]]) -> str:
    """Sections of texts, numbers, flags and lists of texts; JSON writes these as TOML does."""
    return "\n".join(
        f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        for section, values in config.items()
    )


def _waypost() -> list[str]:
    script = Path(sys.executable).parent / "waypost"
    return [str(script)] if script.exists() else [sys.executable, "-m", "offchain.cli.main"]


def _program(name: str) -> str:
    paths = [str(Path(sys.executable).parent), str(PROJECT / "node_modules" / ".bin"), os.environ.get("PATH", "")]
    found = shutil.which(name, path=os.pathsep.join(paths))
    if found is None:
        raise ConfigError(f"{name} is not installed; `make setup` installs it")
    return found
