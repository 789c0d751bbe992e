"""Make Brownie know the networks of this project, in the home directory of whoever runs it. Again is harmless.

    waypost         any endpoint: the one in the environment variable WAYPOST_RPC. Treated as a live network, so that
                    Brownie never launches, snapshots or reverts the chain behind it.
    waypost-demo    the same, for the demonstration, which keeps its addresses apart

Brownie keeps its networks in ~/.brownie/network-config.yaml, which it writes at its first start, and offers no place
for a project's own. Other networks there are left as they are. Needs PyYAML, which Brownie brings, but does not load
Brownie.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import yaml

ENVIRONMENT = "Waypost"
NETWORKS = tuple(
    {
        "id": name,
        "name": "The endpoint in WAYPOST_RPC",
        "host": "$WAYPOST_RPC",
        "chainid": 31337,  # only names Brownie's own caches; the scripts ask the chain
        "timeout": 60,
    }
    for name in ("waypost", "waypost-demo")
)


def main() -> None:
    path = Path.home() / ".brownie" / "network-config.yaml"
    if add_networks(path):
        print(f"Brownie now knows: {', '.join(network['id'] for network in NETWORKS)}", file=sys.stderr)


def add_networks(path: Path) -> bool:
    """Write our networks into Brownie's file; whether it had to change."""
    config = yaml.safe_load((path if path.exists() else _shipped()).read_text())
    ours = {"name": ENVIRONMENT, "networks": [dict(network) for network in NETWORKS]}
    wanted = [entry for entry in config["live"] if entry["name"] != ENVIRONMENT] + [ours]
    if path.exists() and wanted == config["live"]:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(yaml.safe_dump({**config, "live": wanted}, sort_keys=False))
    draft.replace(path)
    return True


def _shipped() -> Path:
    """The file that Brownie starts with."""
    spec = find_spec("brownie")
    if spec is None or spec.origin is None:
        sys.exit("Brownie is not installed here; run: make setup")
    return Path(spec.origin).parent / "data" / "network-config.yaml"


if __name__ == "__main__":
    main()
