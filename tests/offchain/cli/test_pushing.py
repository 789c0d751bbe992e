"""What `waypost push` takes: a PushSubscription as browsers hand it out (rule X17)."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode

import pytest

from offchain.cli.main import main
from offchain.cli.output import Exit
from offchain.cli.pushing import read_subscription
from offchain.errors import ConfigError

POINT, AUTH = b"\x04" + bytes(range(64)), bytes(range(16))


def text(data):
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def subscription(tmp_path, **changes):
    document = {
        "endpoint": "https://push.example/1",
        "expirationTime": None,
        "keys": {"p256dh": text(POINT), "auth": text(AUTH)},
    }
    path = tmp_path / "subscription.json"
    path.write_text(json.dumps({**document, **changes}))
    return path


def test_reads_what_a_browser_hands_out(tmp_path):
    found = read_subscription(subscription(tmp_path))

    assert (found.endpoint, found.p256dh, found.auth) == ("https://push.example/1", POINT, AUTH)


@pytest.mark.parametrize(
    "changes",
    [
        {"keys": {"p256dh": text(POINT)}},
        {"keys": {"p256dh": text(POINT[1:]), "auth": text(AUTH)}},
        {"keys": {"p256dh": "\N{SNOWMAN}", "auth": text(AUTH)}},
        {"keys": None},
    ],
)
def test_says_what_is_wrong_with_a_file_that_is_none(tmp_path, changes):
    path = subscription(tmp_path, **changes)

    with pytest.raises(ConfigError, match=r"subscription\.json"):
        read_subscription(path)


def test_a_file_of_no_use_is_refused_before_anything_is_looked_for(tmp_path, capsys):
    path = subscription(tmp_path, keys={})

    code = main(["--home", str(tmp_path), "push", "register", "--topic", "x", "--subscription", str(path)])

    assert code == Exit.ERROR
    assert "is not a PushSubscription" in capsys.readouterr().err
