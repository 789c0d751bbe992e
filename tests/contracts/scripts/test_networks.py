import importlib.util
from pathlib import Path

import pytest
import yaml


@pytest.fixture
def networks():
    spec = importlib.util.spec_from_file_location("networks", Path(__file__).parents[3] / "setup" / "networks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_adds_the_networks_to_an_empty_home(networks, tmp_path):
    path = tmp_path / ".brownie" / "network-config.yaml"

    assert networks.add_networks(path)

    config = yaml.safe_load(path.read_text())
    ids = [network["id"] for group in config["live"] for network in group["networks"]]
    assert {"waypost", "waypost-demo", "mainnet"} <= set(ids)
    assert len(ids) == len(set(ids))
    assert next(network["id"] for network in config["development"]) == "development"


def test_again_changes_nothing(networks, tmp_path):
    path = tmp_path / "network-config.yaml"
    networks.add_networks(path)
    before = path.read_text()

    assert not networks.add_networks(path)

    assert path.read_text() == before


def test_keeps_the_users_own_networks_and_mends_ours(networks, tmp_path):
    path = tmp_path / "network-config.yaml"
    mine = {"name": "Mine", "networks": [{"id": "mine", "host": "http://127.0.0.1:1", "chainid": "5"}]}
    stale = {"name": "Waypost", "networks": [{"id": "waypost", "host": "http://old", "chainid": "5"}]}
    path.write_text(yaml.safe_dump({"live": [stale, mine], "development": []}))

    assert networks.add_networks(path)

    live = yaml.safe_load(path.read_text())["live"]
    assert mine in live
    assert [network["host"] for group in live for network in group["networks"] if network["id"] == "waypost"] == [
        "$WAYPOST_RPC"
    ]
