"""JSON-RPC: what an endpoint may answer, and what happens when it does not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.chain.rpc import BadAnswer, Rpc, RpcError, Unreachable
from offchain.errors import ChainError


class Answering(Rpc):
    """Gives each endpoint a function from a request to the bytes of its answer."""

    def __init__(self, *answers):
        super().__init__([f"http://user:secret@node{index}.example/key" for index in range(len(answers))])
        self._answers = dict(zip((each.url for each in self.endpoints), answers, strict=True))
        self.asked = []

    async def _post(self, endpoint, request):
        self.asked.append(endpoint.name)
        answer = self._answers[endpoint.url](json.loads(request))
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode(), 0.01


def result(value):
    return lambda request: {"jsonrpc": "2.0", "id": request["id"], "result": value}


def failing(request):
    return Unreachable("gone")


async def test_gives_the_result_in_its_type():
    assert await Answering(result("0x1")).call("eth_chainId", [], str) == "0x1"


async def test_asks_the_next_endpoint_when_one_cannot_be_reached_and_remembers():
    rpc = Answering(failing, result("0x1"))

    assert await rpc.call("eth_chainId", [], str) == "0x1"
    assert await rpc.call("eth_chainId", [], str) == "0x1"

    assert rpc.asked == ["node0.example", "node1.example", "node1.example"]
    assert rpc.endpoints[0].last_error == "gone"
    assert rpc.leader().name == "node1.example"


async def test_raises_the_last_failure_when_all_fail():
    with pytest.raises(Unreachable):
        await Answering(failing, failing).call("eth_chainId", [], str)


async def test_what_an_endpoint_refuses_is_final():
    def refuse(request):
        return {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32005, "message": "too much"}}

    rpc = Answering(refuse, result("0x1"))
    with pytest.raises(RpcError, match="too much") as refused:
        await rpc.call("eth_getLogs", [], str)

    assert refused.value.code == -32005
    assert rpc.asked == ["node0.example"]


async def test_tells_nothing_found_from_no_answer():
    assert await Answering(result(None)).find("eth_getBlockByHash", [], str) is None
    with pytest.raises(BadAnswer):
        await Answering(result(None)).call("eth_getBlockByHash", [], str)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"1", b'{"id": 1, "result": 7}', b'{"id": 99, "result": "0x1"}', b"\xff\xfe", b"[" * 5000],
)
async def test_an_answer_of_another_shape_is_a_bad_answer(body):
    rpc = Answering(lambda request: body)

    with pytest.raises(BadAnswer):
        await rpc.call("eth_chainId", [], str, endpoint=rpc.leader())


@given(st.binary(max_size=60))
async def test_any_bytes_are_an_answer_or_a_chain_error(body):
    rpc = Answering(lambda request: body)
    with pytest.raises(ChainError):
        await rpc.call("eth_chainId", [], str, endpoint=rpc.leader())


async def test_a_batch_comes_back_in_order_however_it_was_answered():
    def backwards(requests):
        return [{"id": each["id"], "result": each["params"][0]} for each in reversed(requests)]

    rpc = Answering(backwards)
    assert await rpc.batch("m", [["a"], ["b"], ["c"]], str, endpoint=rpc.leader()) == ["a", "b", "c"]


@pytest.mark.parametrize("change", [lambda answers: answers[1:], lambda answers: [answers[0], answers[0]]])
async def test_a_batch_with_answers_missing_or_doubled_is_a_bad_answer(change):
    def answer(requests):
        return change([{"id": each["id"], "result": "x"} for each in requests])

    rpc = Answering(answer)
    with pytest.raises(BadAnswer):
        await rpc.batch("m", [["a"], ["b"]], str, endpoint=rpc.leader())


async def test_a_batch_refused_as_a_whole_is_an_rpc_error():
    rpc = Answering(lambda requests: {"id": None, "error": {"code": 1, "message": "no batches"}})

    with pytest.raises(RpcError, match="no batches"):
        await rpc.batch("m", [["a"]], str, endpoint=rpc.leader())


def test_never_shows_the_key_in_an_endpoints_address():
    assert Rpc(["https://user:secret@node.example:8545/v3/key"]).leader().name == "node.example:8545"


def test_is_demoted_for_longer_each_time():
    rpc = Rpc(["http://a", "http://b"])
    first = rpc.endpoints[0]
    rpc.demote(first, "x")
    once = first.demoted_until
    rpc.demote(first, "x")

    assert first.demoted_until > once + 1
    assert rpc.ranked() == [rpc.endpoints[1], first]
