"""Single calls to an endpoint: an answer of any kind is taken or is a ChainError that names the endpoint."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from offchain.cli import calls
from offchain.errors import ChainError
from offchain.types import Address

REGISTRY = Address(b"\x11" * 20)


@pytest.fixture(scope="module")
def answering():
    """Let every request get these bytes, or this error; the bodies that were posted are collected."""
    posted = []

    def answer(body):
        def urlopen(request, timeout):
            posted.append(json.loads(request.data))
            if isinstance(body, Exception):
                raise body
            return io.BytesIO(body)

        patch.setattr(calls.urllib.request, "urlopen", urlopen)
        return posted

    with pytest.MonkeyPatch.context() as patch:
        yield answer


def test_calls_are_answered_in_order(answering):
    posted = answering(b'{"result": "0x2a"}')

    found = calls.call_contract(["http://one"], REGISTRY, [("kindOf(bytes32)", bytes(32)), ("total()", b"")])

    assert found == [b"\x2a", b"\x2a"]
    [kind_of, total] = posted[-2:]
    assert kind_of["params"][0] == {"to": "0x" + "11" * 20, "data": "0x" + _selector("kindOf(bytes32)") + "00" * 32}
    assert total["params"][0]["data"] == "0x" + _selector("total()")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "did not answer"),
        (b"[]", "refused"),
        (b'{"error": {"message": "too much"}}', "too much"),
        (b'{"result": "0x"}', "has no contract at 0x1111"),
        (b'{"result": "zz"}', "answered total"),
        (b'{"result": null}', "answered total"),
        (ConnectionRefusedError("nobody there"), "nobody there"),
    ],
)
def test_what_is_wrong_is_said_of_each_endpoint(answering, body, said):
    answering(body)

    with pytest.raises(ChainError, match=said) as caught:
        calls.call_contract(["http://one", "http://two"], REGISTRY, [("total()", b"")])
    assert "http://one" in str(caught.value)
    assert "http://two" in str(caught.value)


@given(body=st.binary(max_size=100))
@example(body=b"[" * 100_000)
@example(body=b"9" * 5_000)
def test_noise_is_a_chain_error(answering, body):
    answering(body)

    with pytest.raises(ChainError):
        calls.request("http://one", "eth_chainId", [])


def _selector(signature):
    return calls.keccak256(signature.encode())[:4].hex()
