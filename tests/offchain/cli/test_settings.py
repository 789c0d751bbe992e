"""Configuration (rules X4, X5): files, environment and options, in that order; every mistake is named."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.cli.settings import SCHEMA, find_deployment, load, read_deployment
from offchain.config import ChainConfig, ClientConfig, ContractRef, DiscoveryConfig, MailserverConfig
from offchain.errors import ConfigError
from offchain.types import MAILSERVER, Address

REGISTRY = "0x" + "11" * 20
CURATOR = "0x" + "22" * 20
DEPLOYMENT = {
    "network": "testnet",
    "chainId": 31337,
    "contracts": {
        "NodeRegistry": {"address": REGISTRY, "block": 3},
        "OwnerCurator": {"address": CURATOR, "block": 4},
    },
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "deployments").mkdir()
    (tmp_path / "deployments" / "testnet.json").write_text(json.dumps(DEPLOYMENT))
    return tmp_path


def configure(home: Path, text: str) -> Path:
    (home / "config.toml").write_text(text)
    return home


def test_a_snapshot_beside_the_deployment_is_used_unless_another_is_named(home):
    configure(home, '[chain]\nnetwork = "testnet"\nrpc = ["http://127.0.0.1:1"]\n')
    assert load(home, environment={}).chain().snapshot is None

    (home / "deployments" / "testnet.snapshot").touch()
    assert load(home, environment={}).chain().snapshot == home / "deployments" / "testnet.snapshot"

    named = load(home, environment={"WAYPOST_CHAIN_SNAPSHOT": "mine.snapshot"})
    assert named.chain().snapshot == home / "mine.snapshot"


def test_the_file_gives_the_records_of_the_package(home):
    configure(
        home, '[chain]\nnetwork = "testnet"\nrpc = ["http://127.0.0.1:1"]\nfinality = 12\n[client]\npool_target = 3\n'
    )

    settings = load(home, environment={})

    assert settings.chain() == ChainConfig(
        rpc=("http://127.0.0.1:1",),
        chain_id=31337,
        registry=ContractRef(Address(b"\x11" * 20), 3),
        curators=(ContractRef(Address(b"\x22" * 20), 4),),
        database=home / "chain.sqlite",
        finality="12",
    )
    assert settings.client() == ClientConfig(MAILSERVER, pool_target=3, health=home / "health.json")


def test_without_a_file_everything_has_its_default(home):
    settings = load(home, environment={})

    assert settings.discovery() == DiscoveryConfig(database=home / "nodes.sqlite")
    assert settings.mailserver() == MailserverConfig(data=home / "archive")
    assert settings.key_path() == home / "node.key"


def test_a_protocol_id_is_six_characters(home):
    configure(home, '[discovery]\nprotocol_id = "waypnt"\nallow = ["10.0.0.0/8"]\ndatabase = "n.db"\n')

    config = load(home, environment={}).discovery()

    assert (config.protocol_id, config.allow, config.database) == (b"waypnt", ("10.0.0.0/8",), home / "n.db")
    with pytest.raises(ConfigError, match="six ASCII characters"):
        load(home, environment={"WAYPOST_DISCOVERY_PROTOCOL_ID": "other"})


def test_the_environment_goes_before_the_file_and_options_before_both(home):
    configure(home, '[chain]\nrpc = ["http://file"]\nnetwork = "elsewhere"\n[mailserver]\nport = 1\n')
    environment = {"WAYPOST_RPC": "http://a, http://b", "WAYPOST_NETWORK": "nowhere", "WAYPOST_MAILSERVER_PORT": "2"}

    settings = load(home, environment=environment, overrides={"chain": {"network": "testnet"}})

    assert settings.chain().rpc == ("http://a", "http://b")
    assert settings.chain().chain_id == 31337
    assert settings.mailserver().port == 2


def test_variables_of_others_are_left_alone(home):
    assert load(home, environment={"WAYPOST_TEST_PORT": "1", "WAYPOST_HOME": "x", "WAYPOST_DEBUG": "1"}).values == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[chian]\n", r"there is no section \[chian\]; did you mean chain\?"),
        ("chain = 1\n", r"chain is 1, expected a section \[chain\]"),
        ("[client]\npool_targt = 1\n", r"\[client\] has no setting pool_targt; did you mean pool_target\?"),
        ("[client]\npool_target = 0\n", "pool_target: 0 is not a whole number from 1"),
        ("[client]\npool_target = true\n", "pool_target: True is not a whole number"),
        ("[chain]\nrpc = [1]\n", r"rpc: \[1\] is not a list of texts"),
        ('[chain]\nrpc = ["ftp://x"]\n', "rpc: 'ftp://x' does not begin with http:// or https://"),
        ('[chain]\nfinality = "soon"\n', "finality: 'soon' is not \"finalized\""),
        ("[mailserver]\nport = 70000\n", "port: 70000 is not a port from 0 to 65535"),
        ("[mailserver]\nmin_pow = -1\n", "min_pow: -1 is not a number from 0"),
        ("[discovery]\nlan = 3\n", "lan: 3 is not true or false"),
        ('[discovery]\nbootnodes = ["enode://"]\n', "is not a record"),
        ('[client]\nkind = "Mail"\n', "kind: 'Mail' is not a kind"),
        ("[chain\n", "is not TOML"),
        ("a = " + "[" * 100_000, "is not TOML"),
        ("a = " + "9" * 5_000, "is not TOML"),
    ],
)
def test_a_mistake_is_named_with_what_was_expected(home, text, said):
    configure(home, text)

    with pytest.raises(ConfigError, match=said) as caught:
        load(home, environment={})
    assert "config.toml" in str(caught.value)


def test_a_mistake_in_the_environment_is_named_too(home):
    with pytest.raises(ConfigError, match=r"the environment: \[chain\] has no setting rcp; did you mean rpc\?"):
        load(home, environment={"WAYPOST_CHAIN_RCP": "http://x"})


def test_what_must_be_chosen_is_asked_for(home):
    with pytest.raises(ConfigError, match="no network is chosen: write"):
        load(home, environment={}).chain()
    with pytest.raises(ConfigError, match="no endpoint is given for testnet"):
        load(home, environment={"WAYPOST_NETWORK": "testnet"}).chain()


def test_an_unknown_network_is_answered_with_the_known_ones(home):
    with pytest.raises(ConfigError, match=r"there is no deployments/mainnet.json; known networks: .*testnet"):
        find_deployment("mainnet", home)


@pytest.mark.parametrize("name", ["", "../secret", "a/b", "a b"])
def test_a_network_is_a_plain_name(home, name):
    with pytest.raises(ConfigError, match="expected a name of letters"):
        find_deployment(name, home)


@pytest.mark.parametrize(
    "change",
    [
        {"chainId": "x"},
        {"chainId": -1},
        {"contracts": []},
        {"contracts": {"NodeRegistry": {"address": "0x12", "block": 1}}},
        {"contracts": {"NodeRegistry": {"address": REGISTRY}}},
        {"contracts": {"NodeRegistry": {"address": REGISTRY, "block": 1.5}}},
    ],
)
def test_a_damaged_deployment_is_refused(home, change):
    path = home / "deployments" / "testnet.json"
    path.write_text(json.dumps({**DEPLOYMENT, **change}))

    with pytest.raises(ConfigError, match="is not a deployment"):
        read_deployment(path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "9" * 5_000])
def test_a_deployment_that_is_no_json_is_refused(home, text):
    path = home / "deployments" / "testnet.json"
    path.write_text(text)

    with pytest.raises(ConfigError, match="is not JSON"):
        read_deployment(path)


def test_a_deployment_without_a_registry_is_of_no_use(home):
    path = home / "deployments" / "testnet.json"
    path.write_text(json.dumps({**DEPLOYMENT, "contracts": {}}))

    with pytest.raises(ConfigError, match="names no NodeRegistry"):
        _ = read_deployment(path).registry


def test_the_interface_is_for_this_machine_only(home):
    with pytest.raises(ConfigError, match="is for this machine"):
        load(configure(home, '[http]\nhost = "0.0.0.0"\n'), environment={}).http()


@pytest.mark.parametrize(
    ("section", "record", "made_here"),
    [
        ("chain", ChainConfig, {"chain_id", "registry", "curators"}),
        ("discovery", DiscoveryConfig, {"kinds", "tcp"}),
        ("mailserver", MailserverConfig, set()),
        ("client", ClientConfig, {"health"}),
    ],
)
def test_every_field_of_a_record_can_be_set(section, record, made_here):
    fields = {field.name for field in dataclasses.fields(record)}

    assert fields - made_here == SCHEMA[section].keys() - {"network", "deployment"}


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2)


@given(section=st.sampled_from(sorted(SCHEMA)), data=st.data(), value=values)
def test_any_value_is_taken_or_refused_in_words(section, data, value):
    key = data.draw(st.sampled_from(sorted(SCHEMA[section])))

    with contextlib.suppress(ConfigError):
        load(Path("/nonexistent"), environment={}, overrides={section: {key: value}})


@given(noise=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_file_or_refused_in_words(tmp_path_factory, noise):
    home = tmp_path_factory.getbasetemp() / "noise"
    home.mkdir(exist_ok=True)
    for name in ("config.toml", "deployment.json"):
        (home / name).write_bytes(noise)

    with contextlib.suppress(ConfigError):
        load(home, environment={})
    with pytest.raises(ConfigError):
        read_deployment(home / "deployment.json")
