"""What is secret in a text, and the text without it: passwords, keys, tokens, signed queries, wherever they came from.

URIs are taken apart as their clients do, and so are headers, JSON and connection strings; what has no name beside it is
known by its form. Where a text can be read in two ways, the one that shows less is taken: what is masked is shown to
people, never used.

Not to be told from ordinary text, and therefore shown: a login without ``:`` that holds a ``/``
(``https://to/ken@host``), and a password of digits up to its first ``/`` (``https://user:12/34@host``), which is a
host with a port.
"""

from __future__ import annotations

import os
import re
from typing import Final
from urllib.parse import unquote

MASK: Final = "***"

# Stores whose URLs are a bucket and a key and nothing else; their signed URLs are http.
_PLAIN_KEYS: Final = ("s3", "s3a", "gs", "gcs")

# Protocols in whose URLs a name before the host is a place or a login; elsewhere it may be a token.
_NAMED_PLACES: Final = ("abfs", "abfss", "az", "adl", "ssh", "sftp", "ftp", "smb", "hdfs")

# Whatever follows "?" is a query there, and may be a key without a name.
_WEB: Final = ("http", "https", "webdav", "ws", "wss")

# No host is in them: names of files, and of members of archives.
_NAMES: Final = ("file", "local", "zip", "tar", "parquet", "libarchive", "simplecache", "filecache", "blockcache")

# "::" between file systems, and not inside a password or an IPv6 address.
_CHAIN: Final = re.compile(r"::(?=[A-Za-z][A-Za-z0-9+.-]*(?:://|::)|/)")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*\Z")
_QUERY: Final = re.compile(r"(?i)\A(https?://[^?#]*)\?[^#]*")
_HOST: Final = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:[0-9]*)?")

# Up to the last "@" of a run: a password may hold a quote.
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}://(?:\S*@)?[^\s'\"<>]*")

# A name that ends so, before "=".
_ASSIGNED: Final = (
    r"(?:pass(?:word|wd|phrase)|pwd|secret|token|credentials?|signature|sig|sas|auth|jsessionid"
    r"|(?:api|access|account|shared|private|secret|master|subscription)[-_. ]?(?:access[-_. ]?)?key(?:[-_. ]?id)?)"
)
# A name that is exactly this, before ":", as headers and JSON have it.
_DECLARED: Final = (
    r"(?:x-amz-security-token|x-api-key|x-auth-token|x-ms-copy-source-authorization|pass(?:word|wd|phrase)|secret|token"
    r"|(?:access|refresh|id|session|auth|security|bearer)[-_]?token|client[-_]?secret"
    r"|(?:aws[-_]?)?secret[-_]?access[-_]?key|(?:aws[-_]?)?access[-_]?key[-_]?id"
    r"|(?:api|access|account|shared|private|secret)[-_]?key|credentials?|connection[-_]?string)"
)
_VALUE: Final = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\\+"[^"\\]*|[^\s&;'"<>]+)"""
_QUOTE: Final = r"""\\*['"]?"""

# Of a query: what signs a URL or lets somebody in, by whatever name stores and services have for it.
_SECRET_NAME: Final = re.compile(
    rf"(?i)(?:.*{_ASSIGNED}|x-(?:amz|goog|ms|oss|cos|obs|tos)-.*|(?:aws|oss|google)access(?:key)?id|key(?:-pair-id)?|policy"
    r"|hdn(?:ts|ea|tl)|hmac|jwt|ticket|session(?:[-_]?id)?|sid|otp|pin|code|q-.*)"
)
# What stands beside a signature and changes with it: of CloudFront, of Google's older ones, and of Azure's.
_OF_SIGNATURES: Final = re.compile(
    r"(?i)(?:expires|exp|googleaccessid|s[vsprte]|srt|spr|st|sip|sk(?:oid|tid|[tesv])|rsc[cdelt]|ses|sdd|saoid|suoid|scid)="
)
# As keys look: letters of both kinds among digits, or hexadecimal, without a break.
_OPAQUE: Final = re.compile(
    r"(?=[A-Za-z0-9+]{16})(?=[A-Z0-9+]*[a-z])(?=[a-z0-9+]*[A-Z])(?=[A-Za-z+]*[0-9])[A-Za-z0-9+]{16,}|(?i:[0-9a-f]{32})"
)

_NAMED: Final = (
    # To the end of the line or the quote: schemes, key ids and signatures stand behind each other.
    re.compile(
        rf"(?i)((?:proxy-)?authorization{_QUOTE}\s*[:=]\s*(?:\\*b?\\*['\"])?|\b(?:set-)?cookie{_QUOTE}\s*:\s*{_QUOTE})"
        r"""[^'"\n]+"""
    ),
    re.compile(rf"(?i)((?<![A-Za-z0-9])[\w.-]{{0,64}}{_ASSIGNED}{_QUOTE}\s*=\s*){_VALUE}"),
    re.compile(rf"(?i)((?<![\w.]){_DECLARED}{_QUOTE}\s*:\s*){_VALUE}"),
    re.compile(r"(?i)([?&;]key=)[^\s&'\"]+"),
    re.compile(r"(?i)(\bbearer\s+)[^\s,;'\"]{6,}"),
    re.compile(r"(?i)(\bbasic\s+)(?=[^\s,;'\"]*[0-9=])[A-Za-z0-9+/=_-]{8,}"),
)

_FORMS: Final = re.compile(
    r"\b(?:"
    r"hf_[A-Za-z0-9]{16,}"
    r"|(?:AKIA|ASIA|AROA|AIDA|AGPA|ANPA|ABIA|ACCA)[A-Z0-9]{16}"
    r"|gh[opsur]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[\w-]{16,}"
    r"|AIza[\w-]{30,}|ya29\.[\w-]{16,}|GOOG[A-Z0-9]{16,}"
    r"|sk-[\w-]{20,}|xox[abeprs]-[\w-]{10,}|wandb_v1_[\w-]{16,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r")"
)
MAY_CARRY: Final = (
    r"[@?]|#(?s:.*)=|-----BEGIN|(?i:bearer|basic)[^A-Za-z0-9/]"
    rf"|(?i:{_ASSIGNED}[^A-Za-z0-9/]*=|(?:{_DECLARED}|authorization|cookie)[^A-Za-z0-9/]*[:=])"
    r"|hf_|A(?:KIA|SIA|ROA|IDA|GPA|NPA|BIA|CCA)[A-Z0-9]{4}|gh[opsur]_|github_pat_|glpat-|AIza|ya29\.|GOOG[A-Z0-9]{8}"
    r"|sk-[^/\s.]{20}|xox[abeprs]-|wandb_v1_|eyJ"
)
"""A pattern, also of RE2's, that all URIs have in which :func:`carries_secret` can find one, and few others: for
columns of millions, of which Python looks at the few."""

_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)

# Values of variables that are called so are replaced wherever they stand.
_VARIABLE: Final = re.compile(
    r"(?i)(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|CONNECTION_STRING|API_?KEY|ACCESS_KEY(_ID)?|STORAGE_KEY|PRIVATE_KEY)$"
)
_SHORTEST: Final = 6
"""Values shorter than this may be words of any text."""


def mask_uri(uri: str) -> str:
    """The URI without passwords and signed queries: safe for logs and files.

    Chained URLs (``zip://…::s3://…``) are masked part by part. Of a query what may be a signature goes, with what comes
    and goes with one (dates, expiry, scopes); what else it says (``?width=4096``) stays, and so do ``?`` and ``#`` in
    the keys of buckets and in globs. Two signatures of one address leave the same text.
    """
    return "::".join(_masked(part) for part in _CHAIN.split(os.fspath(uri)))


def _masked(part: str) -> str:
    before, separator, rest = part.partition("://")
    match = _SCHEME.search(before)
    if not separator or match is None or match[0].lower() in _NAMES:
        return part
    scheme = match[0].lower()
    login, host, tail = _taken_apart(rest)
    if login is not None and (scheme not in _NAMED_PLACES or ":" in login or "%3a" in login.lower()):
        login = None
    if scheme in _WEB:
        path, sign, fragment = tail.partition("#")
        path, _, query = path.partition("?")
        tail = path + _shown_query(query) + (sign + fragment if "=" not in fragment else "")
    elif scheme not in _PLAIN_KEYS:
        tail = re.sub(r"#.*=.*", "", tail, flags=re.DOTALL)
        tail = re.sub(r"\?([^#]*=[^#]*)", lambda match: _shown_query(match[1]), tail, flags=re.DOTALL)
    else:
        tail = _NAMED[1].sub(rf"\1{MASK}", tail)
    return f"{before}://{login + '@' if login is not None else ''}{host}{tail}"


def _shown_query(query: str) -> str:
    """A query with its sign, without what may be secret; nothing where nothing is left.

    What has no name may be a key, and what has one may still look like one.
    """
    parts = [part for part in query.split("&") if part]
    shown = [part for part in parts if not _is_secret(part)]
    if len(shown) < len(parts):
        shown = [part for part in shown if not _OF_SIGNATURES.match(part)]
    return "?" + "&".join(shown) if shown else ""


def _is_secret(part: str) -> bool:
    """Whether one part of a query may be a signature, a key or a token."""
    name, named, value = part.partition("=")
    plain = unquote(unquote(value))
    if not named or _SECRET_NAME.fullmatch(unquote(name)) or _OPAQUE.search(plain):
        return True
    whole = f"{name}={plain}"
    return _without_values(whole) != whole or ("://" in plain and mask_text(plain) != plain)


def _taken_apart(rest: str) -> tuple[str | None, str, str]:
    """Login, host with its port, and what follows; a password may hold any of the signs that end a host."""
    end = re.search(r"[/?#\\]|\Z", rest).start()  # type: ignore[union-attr]
    authority, tail = rest[:end], rest[end:]
    if "@" in authority:
        login, _, host = authority.rpartition("@")
        if ":" not in login or "@" not in tail:
            return login, host, tail
        # The password may go on behind the slash.
        end = rest.rindex("@")
    elif "@" in tail and not _HOST.fullmatch(authority):
        end = rest.rindex("@")
    else:
        return None, authority, tail
    _, host, tail = _taken_apart(rest[end + 1 :])
    return rest[:end], host, tail


def carries_secret(uri: str) -> bool:
    """Whether a URI holds credentials: user info, a query that may be a signed URL's, or what has a key's form."""
    text = os.fspath(uri)
    if mask_uri(text) != text:
        return True
    is_local = "://" not in text or all(part.startswith(("file://", "local://")) for part in text.split("::"))
    return not is_local and _without_values(text) != text


def is_signed(uri: str) -> bool:
    """Whether a URI's secrets are all in queries of web addresses: one that is signed, or has a token there.

    Such a one is for its bearer for a while; a login or a key elsewhere belongs to the environment.
    """
    return carries_secret(uri) and not carries_secret(without_queries(uri))


def without_queries(uri: str) -> str:
    """A URI whose web addresses end where their queries begin."""
    return "::".join(_QUERY.sub(r"\1", part) for part in _CHAIN.split(os.fspath(uri)))


def mask_text(text: str) -> str:
    """The text with secrets replaced by ``***``; URLs lose passwords and signed queries."""
    if "://" in text:
        text = _URL.sub(lambda match: mask_uri(match[0]), text)
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and value in text and _VARIABLE.search(name):
            text = text.replace(value, MASK)
    return _without_values(text)


def _without_values(text: str) -> str:
    if "=" in text or ":" in text or "asic" in text or "earer" in text:
        for pattern in _NAMED:
            text = pattern.sub(rf"\1{MASK}", text)
    text = _FORMS.sub(MASK, text)
    return _PRIVATE_KEY.sub(MASK, text) if "-----BEGIN" in text else text
