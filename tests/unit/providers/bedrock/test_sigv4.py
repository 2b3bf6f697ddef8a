"""Signatures against the cases of AWS' own test suite, and against botocore's for Bedrock."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest.mock import patch
from urllib.parse import quote, urlencode

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.bedrock.sigv4 import Signer

AT = datetime(2015, 8, 30, 12, 36, 0, tzinfo=UTC).timestamp()
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
# Names and signatures are those of the suite ("aws-sig-v4-test-suite").
SUITE = [
    ("get-vanilla", "GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("post-vanilla", "POST", "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    (
        "get-vanilla-query-order-key-case",
        "GET",
        "/?Param2=value2&Param1=value1",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
]


@pytest.mark.parametrize(("name", "method", "target", "signature"), SUITE)
def test_the_suite(name: str, method: str, target: str, signature: str) -> None:
    signer = Signer("AKIDEXAMPLE", SECRET, "us-east-1", "service")

    added = dict(signer.sign(method, target, {"host": "example.amazonaws.com"}, b"", AT))

    assert added == {
        "x-amz-date": "20150830T123600Z",
        "authorization": (
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request,"
            f" SignedHeaders=host;x-amz-date, Signature={signature}"
        ),
    }


def test_a_model_whose_name_is_encoded_in_the_path_with_temporary_credentials() -> None:
    """The signature is what botocore 1.44 makes of the same request."""
    signer = Signer("AKIDEXAMPLE", SECRET, "us-east-1", session_token="TOKEN")
    headers = {"host": "bedrock-runtime.us-east-1.amazonaws.com", "content-type": "application/json"}
    target = "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse"

    added = dict(signer.sign("POST", target, headers, b'{"messages":[]}', AT))

    assert added["x-amz-security-token"] == "TOKEN"
    assert added["authorization"].endswith("Signature=faae63daca2af6513e728b7ff343f62f05eb8aa801865a900fcf6fdf582d2b67")


def test_dot_segments_and_empty_ones_do_not_count() -> None:
    signer = Signer("AKIDEXAMPLE", SECRET, "us-east-1", "service")

    added = dict(signer.sign("GET", "/example/..//./x/", {"host": "example.amazonaws.com"}, b"", AT))

    assert added["authorization"].endswith("f2f7b22fa9bfc69529126ab5a745d9d5f8ccba9990e3f1f871fad8bd3de6f8c1")


def test_the_key_of_a_day_is_not_used_the_next_day() -> None:
    signer = Signer("AKIDEXAMPLE", SECRET, "us-east-1", "service")
    fresh = Signer("AKIDEXAMPLE", SECRET, "us-east-1", "service")
    headers = {"host": "example.amazonaws.com"}
    first = signer.sign("GET", "/", headers, b"", AT)

    assert signer.sign("GET", "/", headers, b"", AT + 86_400) == fresh.sign("GET", "/", headers, b"", AT + 86_400)
    assert signer.sign("GET", "/", headers, b"", AT) == first


@given(
    path=st.lists(st.text(st.sampled_from("abc-_.~:/ %é"), max_size=6), max_size=3),
    query=st.dictionaries(st.sampled_from(["a", "B", "c"]), st.sampled_from(["", "1", "x-y"]), max_size=3),
    extra=st.dictionaries(st.sampled_from(["content-type", "x-amz-meta"]), st.sampled_from(["a", " a  b "])),
    body=st.binary(max_size=20),
    token=st.sampled_from([None, "TOKEN"]),
)
def test_botocore_signs_the_same(
    path: list[str], query: dict[str, str], extra: dict[str, str], body: bytes, token: str | None
) -> None:
    target = "/" + "/".join(quote(part, safe="") for part in path)
    target += "?" + urlencode(query) if query else ""
    request = AWSRequest("POST", "https://h.example" + target, headers=extra, data=body)
    judge = SigV4Auth(Credentials("AKIDEXAMPLE", SECRET, token), "bedrock", "us-east-1")
    with patch("botocore.auth.get_current_datetime", lambda *_: datetime(2015, 8, 30, 12, 36, 0)):
        judge.add_auth(request)

    signer = Signer("AKIDEXAMPLE", SECRET, "us-east-1", session_token=token)
    added = dict(signer.sign("POST", target, {"host": "h.example", **extra}, body, AT))

    assert added["authorization"] == request.headers["Authorization"]
