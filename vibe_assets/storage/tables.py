"""The URL of a table goes in; the options that delta-rs and polars need for its store come out. Nothing secret passes through here.

Both read keys from the same environment as everything else; what is added here are time limits, the address of an S3-compatible server,
and the conditional put that makes a commit on S3 atomic: of two writers of one version, the store refuses the second.
"""

from __future__ import annotations

import re
from typing import Any

from vibe_assets.storage.objects import CONNECT_TIMEOUT_S, CREDENTIALS, READ_TIMEOUT_S, s3_endpoint, s3_region, server_of
from vibe_assets.storage.place import Place, Url

RETRIES = 3
DENIED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AccountProblem")


def table_options(place: Place) -> dict[str, str] | None:
    """`storage_options` of delta-rs; None for a path."""
    if not isinstance(place, Url):
        return None
    limits = {"timeout": f"{2 * READ_TIMEOUT_S}s", "connect_timeout": f"{CONNECT_TIMEOUT_S}s", "retry_timeout": f"{READ_TIMEOUT_S}s"}
    return {**_store(place), **limits, "max_retries": str(RETRIES)}


def scan_options(place: Place) -> dict[str, Any] | None:
    """`storage_options` of polars' own reader; None for a path."""
    return {**_store(place), "max_retries": RETRIES} if isinstance(place, Url) else None


def _store(url: Url) -> dict[str, str]:
    if url.scheme != "s3":
        return {}
    options = {"aws_conditional_put": "etag"}
    if endpoint := s3_endpoint():
        options["aws_endpoint_url"] = endpoint
        if endpoint.startswith("http://"):
            options["aws_allow_http"] = "true"
    if region := s3_region():
        options["aws_region"] = region
    return options


def store_trouble(url: Url, error: Exception) -> str:
    """What delta-rs says of a store, in one sentence with its remedy."""
    text = " ".join(re.sub(r"\x1b\[\d+m|↳", "", str(error)).split())
    code, message = (re.search(f"<{name}>([^<]*)</{name}>", text) for name in ("Code", "Message"))
    said = f"{code[1]}: {message[1] if message else ''}" if code else text.partition("<?xml")[0][:400]
    if code and code[1] == "NoSuchBucket":
        return f"there is no bucket {url.bucket!r}: make it, or correct library.lake"
    if "169.254.169.254" in text or "credential" in text.lower():
        return f"no usable credentials: set {CREDENTIALS[url.scheme]} in the environment"
    if (code and code[1] in DENIED) or "401 Unauthorized" in text or "403 Forbidden" in text:
        return f"access denied ({said}): check {CREDENTIALS[url.scheme]} in the environment, and what they may do"
    if re.search(r"\(Connect\)|timed out|dns error|error sending request", text):
        return f"{server_of(url.scheme)} cannot be reached: {said}"
    return said
