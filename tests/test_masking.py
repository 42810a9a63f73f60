"""Masking: no secret is shown or stored, in whatever text it comes, and ordinary text stays as it is."""

from __future__ import annotations

import io
import logging

import pytest

from pager_ray.masking import MaskingFilter, mask_text

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
