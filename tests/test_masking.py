"""Masking: no secret is shown or stored, in whatever text it comes, and ordinary text stays as it is."""

from __future__ import annotations

import io
import json
import logging
import re
import string
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pager_ray.masking import MAY_CARRY, carries_secret, is_signed, mask_text, mask_uri
from pager_ray.plain import MaskingFilter

SECRET = "wJalrXUtnFEMI"


@pytest.mark.parametrize(
    "text",
    [
        f"cannot connect to https://user:{SECRET}@host/a.jpg",
        f"403, message='Forbidden', url=URL('https://host/a.jpg?X-Amz-Signature={SECRET}&X-Amz-Date=1')",
        f"GET https://host/a.jpg?sv=2024&sig={SECRET} failed",
        f"Authorization: Bearer {SECRET}",
        f"headers: authorization: AWS4-HMAC-SHA256 {SECRET}, more",
        f"no file /a.jpg?sig={SECRET}",
        f"AccountName=x;password={SECRET}",
        f"signature={SECRET} does not match",
        "token hf_abcdefghijklmnopqrstuv is not valid",
        "SignatureDoesNotMatch for key environment-secret",
    ],
)
def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Passwords, signatures, tokens and the environment's own keys are gone; the rest of the line is there."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "environment-secret")
    masked = mask_text(text)
    for secret in (SECRET, "hf_abcdefghijklmnopqrstuv", "environment-secret"):
        assert secret not in masked
    assert masked[:5] == text[:5]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s3://bucket/key?versionId=1: does not exist",
        "/data/room 1.jpg: PNG file is damaged or incomplete: broken data stream",
        "checkpoint: s3://bucket/weights/ has no config.yaml",
        "1…99 % of 4096×2048 pixels",
    ],
)
def test_ordinary_text_is_left_alone(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """What holds no secret is not changed, also where a variable is set to a short word."""
    monkeypatch.setenv("HF_TOKEN", "s3")
    assert mask_text(text) == text


PLAIN = string.ascii_letters + string.digits
WORDS = st.text(PLAIN, min_size=10, max_size=24)
# A login ends at a blank, and digits before a slash are a port.
PASSWORDS = st.builds(
    lambda start, rest: start + rest,
    st.sampled_from(string.ascii_letters),
    st.text(PLAIN + "/?#@:'\"<>=&%+!$;,()[]~", min_size=9, max_size=20),
).filter(lambda password: "::" not in password)
SCHEMES = ("https", "http", "ftp", "sftp", "s3", "az", "abfs", "webdav", "memory")
BEFORE = ("", " ", "\t", "\n ", "zip://a.jpg::", "simplecache::")

LOGINS = st.builds(
    lambda before, scheme, secret: (f"{before}{scheme}://user:{secret}@host:80/a.jpg", secret),
    st.sampled_from(BEFORE),
    st.sampled_from(SCHEMES),
    st.one_of(PASSWORDS, PASSWORDS.map(lambda password: quote(password, safe=""))),
)
TOKENS = st.builds(lambda secret: (f"https://{secret}@host/a.jpg", secret), WORDS)
QUERIES = st.builds(
    lambda form, secret: (form.format(secret), secret),
    st.sampled_from(
        (
            "https://host/a.jpg?{}",
            "https://host/a.jpg?sig={}",
            "http://host/a.jpg?a=1&X-Amz-Signature={}&b=2",
            "https://host/a.jpg#access_token={}",
            "az://container/a.jpg?sv=2024&sig={}",
            "hf://datasets/o/n/a.jpg?token={}",
            "s3://bucket/a.jpg?X-Amz-Signature={}",
            "gs://bucket/a.jpg?GoogleAccessId=x&Signature={}",
            "zip://a.jpg::https://host/x.zip?{}",
        )
    ),
    WORDS,
)
URLS = st.one_of(LOGINS, TOKENS, QUERIES)
NAMED = st.builds(
    lambda form, secret: (form.format(secret), secret),
    st.sampled_from(
        (
            "AccountKey={};EndpointSuffix=core.windows.net",
            "SharedAccessSignature={}",
            "api_key={}",
            "apikey='{}'",
            "AWS_SECRET_ACCESS_KEY={} python x.py",
            "aws_access_key_id = {}",
            "--password={}",
            "client_secret: {}",
            "X-Api-Key: {}",
            "Cookie: session={}",
            "Authorization: Bearer {}",
            "authorization: Basic {}=",
            "Authorization=AWS4-HMAC-SHA256 Credential=AK/2024, SignedHeaders=host, Signature={}",
            "sent with bearer {}",
        )
    ),
    WORDS,
)
OBJECTS = st.builds(
    lambda name, scheme, secret: ({name: f"{scheme}{secret}"}, secret),
    st.sampled_from(("Authorization", "authorization", "token", "password", "api_key", "secret_access_key")),
    st.sampled_from(("", "Bearer ")),
    WORDS,
)
INSIDE = st.sampled_from(("{}", "cannot open {}: no such host", "('{}',)", '{{"url":"{}"}}', "url={} (2 attempts)"))


def shown_of(secret: str, text: str, ordinary: str) -> list[str]:
    """Six characters of the secret in a row that are in the text, and would not be there without it."""
    parts = {secret[start : start + 6] for start in range(len(secret) - 5)}
    return sorted(part for part in parts if part in text and part not in ordinary)


# Pieces of what is known as a secret, as they may stand next to each other anywhere in a URI.
PIECES = st.one_of(
    NAMED.map(lambda case: case[0]),
    WORDS,
    st.sampled_from(
        (
            *("hf_AbCdEfGhIjKlMnOpQrSt", "AKIAIOSFODNN7EXAMPLE", "ghp_" + "a1" * 12, "github_pat_" + "a1" * 12),
            *("glpat-" + "a1" * 9, "AIza" + "b2" * 16, "ya29." + "c3" * 9, "GOOG" + "D4" * 9, "sk-" + "e5" * 12),
            *("xoxb-" + "f6" * 6, "wandb_v1_" + "g7" * 9, "eyJhbGciOi.eyJzdWIiOi.x", "-----BEGIN PRIVATE KEY-----"),
            *"#?@=:&;/.-_'\"\\ \u00a0",
            *("bearer", "basic", "Token", "KEY", "pa\u017f\u017fword", "to\u212aen", "jsessionid", "sig", "policy"),
            *("::", "%3a", "%40"),
        )
    ),
)


@settings(max_examples=500)
@given(st.sampled_from(SCHEMES), st.lists(PIECES, max_size=6))
def test_columns_are_looked_through_for_whatever_may_be_secret(scheme: str, pieces: list[str]) -> None:
    """What a column's pattern lets pass carries nothing, to Python's and to Arrow's expressions."""
    uri = f"{scheme}://host/{''.join(pieces)}"
    found = [re.search(MAY_CARRY, uri) is not None, pc.match_substring_regex(pa.array([uri]), MAY_CARRY)[0].as_py()]
    assert all(found) or not carries_secret(uri)


@settings(max_examples=300)
@given(URLS)
def test_no_secret_of_a_uri_is_shown(case: tuple[str, str]) -> None:
    """Logins with any sign in them, tokens, and queries with and without names; each is refused as an input, too."""
    uri, secret = case
    assert shown_of(secret, mask_uri(uri), uri.replace(secret, "")) == []
    assert carries_secret(uri)
    assert mask_uri(mask_uri(uri)) == mask_uri(uri)


@settings(max_examples=300)
@given(st.one_of(URLS, NAMED), INSIDE)
def test_no_secret_inside_a_text_is_shown(case: tuple[str, str], around: str) -> None:
    """Wherever a message of a client, a header or a connection string has it."""
    inner, secret = case
    text = around.format(inner)
    assert shown_of(secret, mask_text(text), text.replace(secret, "")) == []


@settings(max_examples=100)
@given(OBJECTS, st.booleans())
def test_no_secret_of_an_object_is_shown(case: tuple[dict[str, str], str], nested: bool) -> None:
    """As JSON, as JSON inside JSON, and as Python shows it."""
    value, secret = case
    text = json.dumps(json.dumps(value)) if nested else json.dumps(value)
    for shown in (text, repr(value), repr({"headers": value})):
        assert secret not in mask_text(shown)


@pytest.mark.parametrize(
    "key",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "hf_abcdefghijklmnopqrstuv",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "AIzaSyA-abcdefghijklmnopqrstuvwxyz01234",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlMTIz",
        "sk-abcdefghijklmnopqrstuvwxyz",
        "glpat-abcdefghijklmnopqrst",
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----",
    ],
)
def test_keys_are_known_by_their_form(key: str) -> None:
    """Without any name beside them; a URL that has one is refused."""
    assert mask_text(f"cannot use {key} there") == "cannot use *** there"
    assert carries_secret(f"https://host/{key}/a.jpg")


@pytest.mark.parametrize(
    "uri",
    [
        "/data/token=1/a.jpg",
        "/data/user:pa@host/a.jpg",
        "file:///data/a.jpg?sig=1",
        "s3://bucket/a@2x.jpg",
        "s3://bucket/a?b#c.jpg",
        "https://host:8000/a@2x.jpg",
        "https://[2001:db8::1]:80/a.jpg",
        "hf://datasets/owner/name@main/a.jpg",
        "hf://datasets/owner/name@main/a.parquet#3",
        "abfs://container@account.dfs.core.windows.net/a.jpg",
        "sftp://user@host/a.jpg",
        "zip://a.jpg::/data/x@2.zip",
        "zip://a@2x.jpg::s3://bucket/x.zip",
        "https://host/a.jpg?width=4096",
        "https://host/a.jpg?width=4096&format=jpg&name=room%2012&dl=1",
        "https://host/get?id=550e8400-e29b-41d4-a716-446655440000&file=House_12/room.jpg",
        "https://host/a.jpg?from=https%3A%2F%2Fother%2Fb.jpg",
        "az://container/a.jpg?snapshot=2026-11-29",
        "zip://a.jpg::https://host/x.zip?v=2",
    ],
)
def test_ordinary_uris_hold_no_secret(uri: str) -> None:
    """Names with the signs of logins and queries are names."""
    assert mask_uri(uri) == uri
    assert not carries_secret(uri)


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK%2F20261129%2Fus-east-1%2Fs3%2Faws4_request"
            "&X-Amz-Date=20261129T100000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature=0a1b",
            "",
        ),
        ("width=4096&X-Goog-Algorithm=GOOG4&X-Goog-Expires=60&X-Goog-Signature=0a1b", "?width=4096"),
        ("sv=2024-11-04&se=2026-12-01T00%3A00%3A00Z&sr=b&sp=r&sig=a%2Bb%3D", ""),
        ("Expires=1764400000&Signature=a~b&Key-Pair-Id=K1&quality=80", "?quality=80"),
        ("GoogleAccessId=x%40y.iam&Expires=1764400000&Signature=ab", ""),
        ("token=abc&width=4096", "?width=4096"),
        ("access_token=abc", ""),
        ("key=abc", ""),
        ("a=1;sig=abc", ""),
        ("next=https%3A%2F%2Fuser%3Ahunter2%40host%2F", ""),
        ("x=wJalrXUtnFEMI7K7MDENG", ""),
        ("x=0123456789abcdef0123456789abcdef", ""),
    ],
)
def test_of_a_signed_query_the_rest_stays(query: str, shown: str) -> None:
    """What signs goes with all that changes with it, so that one address has one text; size and name stay."""
    uri = f"https://host/a.jpg?{query}"
    assert mask_uri(uri) == f"https://host/a.jpg{shown}"
    assert is_signed(uri)
    assert not is_signed(f"https://user:hunter2@host/a.jpg?{query}")
    assert mask_text(f"cannot read {uri} today") == f"cannot read https://host/a.jpg{shown} today"


def test_logs_are_masked_with_their_tracebacks() -> None:
    """A handler with the filter writes neither messages, arguments nor tracebacks with secrets in them."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(MaskingFilter())
    log = logging.getLogger("tests.masking")
    log.addHandler(handler)
    log.propagate = False
    try:
        raise OSError(f"https://user:{SECRET}@host/a.jpg")
    except OSError:
        log.exception("reading %s failed", f"https://host/a.jpg?sig={SECRET}")
    assert SECRET not in stream.getvalue()
    assert "reading https://host/a.jpg failed" in stream.getvalue()
    assert "OSError: https://host/a.jpg" in stream.getvalue()
