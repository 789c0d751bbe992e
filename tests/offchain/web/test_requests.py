"""What may be asked of the interface: good bodies are read, bad ones refused with the field's name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.client.keyring import PersonalKey, SharedKey, topic_of_name
from offchain.enr import Enr
from offchain.keys import PrivateKey
from offchain.web.guard import ApiError
from offchain.web.requests import fetch_request, kind_of, node_id_of, send_request

KEY = PrivateKey(b"\x11" * 32)
SHARED = "0x" + "05" * 32


def test_reads_a_fetch():
    wanted = fetch_request(
        {
            "topics": ["0x01020300", "sonnets"],
            "since": 100,
            "until": 200,
            "pageSize": 10,
            "limit": 5,
            "cursor": "0x" + "aa" * 36,
            "keys": [{"key": SHARED, "topic": "sonnets", "label": "ours"}, {"private": "0x" + "11" * 32}],
        }
    )

    assert wanted.query.topics == (b"\x01\x02\x03\x00", topic_of_name("sonnets"))
    assert (wanted.query.lower, wanted.query.upper, wanted.query.page_size, wanted.query.limit) == (100, 200, 10, 5)
    assert wanted.query.cursor == b"\xaa" * 36
    assert wanted.keys.given[0] == SharedKey("ours", b"\x05" * 32, topic_of_name("sonnets"))
    assert isinstance(wanted.keys.given[1], PersonalKey)
    assert not wanted.keys.own


def test_keys_of_the_service_are_used_besides_those_given_when_asked():
    own = PersonalKey("own", KEY)
    given = fetch_request({"keys": [{"key": SHARED}], "ownKeys": True}).keys

    assert [key.label for key in given.join((own,))] == ["key", "own"]
    assert fetch_request({"keys": []}).keys.join((own,)) == ()


def test_a_fetch_without_anything_is_the_last_day_of_every_topic_with_the_services_keys():
    wanted = fetch_request({})

    assert wanted.query.topics == ()
    assert 24 * 3600 <= wanted.query.upper - wanted.query.lower <= 24 * 3600 + 60
    assert wanted.keys.given == ()
    assert wanted.keys.own


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"topics": "sonnets"}, "topics"),
        ({"topics": [1]}, "topic"),
        ({"topics": [""]}, "topic"),
        ({"topics": ["0x0102"]}, "topic"),
        ({"topics": ["0xzz"]}, "topic"),
        ({"since": "yesterday"}, "since"),
        ({"since": True}, "since"),
        ({"since": 5, "until": 4}, "query"),
        ({"pageSize": 0}, "query"),
        ({"limit": 0}, "query"),
        ({"cursor": "0x00"}, "query"),
        ({"cursor": 7}, "cursor"),
        ({"keys": [7]}, "keys"),
        ({"keys": [{"key": "0x00"}]}, "key"),
        ({"keys": [{"private": "0x" + "00" * 32}]}, "keys"),
        ({"topic": []}, "field"),
    ],
)
def test_says_which_field_of_a_fetch_is_wrong(body, code):
    with pytest.raises(ApiError) as caught:
        fetch_request(body)

    assert (caught.value.status, caught.value.code) == (400, code)


def test_reads_what_to_send():
    wanted = send_request({"text": "héllo", "topic": "sonnets", "key": SHARED, "ttl": 60, "copies": 3, "sign": True})

    assert (wanted.payload, wanted.topic, wanted.to) == ("héllo".encode(), topic_of_name("sonnets"), b"\x05" * 32)
    assert (wanted.ttl, wanted.copies, wanted.sign) == (60, 3, True)


def test_reads_bytes_to_a_public_key():
    wanted = send_request({"payload": "AAE=", "topic": "0x01020300", "to": "0x" + KEY.public.to_bytes().hex()})

    assert (wanted.payload, wanted.to) == (b"\x00\x01", KEY.public)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"text": None}, "payload"),
        ({"payload": "AAE="}, "payload"),
        ({"text": 7}, "text"),
        ({"topic": None}, "topic"),
        ({"key": None}, "key"),
        ({"to": "0x00"}, "to"),
        ({"key": "0x00"}, "key"),
        ({"ttl": 0}, "ttl"),
        ({"copies": 9}, "copies"),
        ({"sign": 1}, "sign"),
        ({"colour": "red"}, "field"),
    ],
)
def test_says_which_field_of_a_message_is_wrong(changes, code):
    body = {"text": "hello", "topic": "sonnets", "key": SHARED, **changes}
    if changes.get("text", "") is None:
        del body["text"]

    with pytest.raises(ApiError) as caught:
        send_request(body)

    assert (caught.value.status, caught.value.code) == (400, code)


def test_a_node_is_named_by_id_enode_or_record():
    record = Enr.create(KEY, 1, ip="10.0.0.1", tcp=30303, udp=30303)
    enode = f"enode://{KEY.public.to_bytes().hex()}@10.0.0.1:30303"
    node_id = KEY.public.node_id

    assert {node_id_of(text) for text in (node_id.hex(), "0x" + node_id.hex(), enode, record.text)} == {node_id}


@pytest.mark.parametrize("text", ["", "0x12", "zz" * 32, "enode://", "enr:"])
def test_another_text_is_no_node(text):
    with pytest.raises(ApiError, match="node is no id"):
        node_id_of(text)


def test_a_kind_is_checked():
    assert kind_of("mailserver") == "mailserver"
    with pytest.raises(ApiError):
        kind_of("Mail Server")


json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=10), inner, max_size=3)),
    max_leaves=8,
)
fields = st.sampled_from(
    ["topics", "since", "until", "pageSize", "limit", "cursor", "keys", "text", "payload", "topic", "key", "to", "ttl"]
)


@given(st.dictionaries(fields, json, max_size=4))
def test_noise_is_refused_with_the_one_error(body):
    for read in (fetch_request, send_request):
        try:
            read(body)
        except ApiError:
            pass
