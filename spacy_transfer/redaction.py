"""Secrets are cut out of what is shown or stored: what an error of the network quotes may hold a password."""

import os
import re
from urllib.parse import unquote, urlsplit

CUT = "***"
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_ADDRESSES = ("HF_ENDPOINT", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy")
# Shorter ones would be found in words that have nothing to do with them.
_SHORTEST = 4
_SECRET_NAME = r"[\w.-]*(?:token|secret|passw|pwd|api_?-?key|auth|signature|credential|policy)[\w.-]*|sig|key|jwt"
_PATTERNS = (
    # user:password@ of an address; a password that was not escaped may hold a slash or an @.
    (re.compile(r"(://)(?:[^\s/?#:'\"]*:[^\s'\"]*|[^\s/?#'\"]*)@"), rf"\1{CUT}@"),
    (re.compile(rf"([?&;](?:{_SECRET_NAME})=)[^&\s#'\"<>)]+", re.IGNORECASE), rf"\1{CUT}"),
    (
        re.compile(
            r"((?:authorization|x-api-key|cookie)['\"]?\s*[:=]\s*[bu]?['\"]?)(?:[a-z]+\s+)?[^\s'\",}\]]+", re.IGNORECASE
        ),
        rf"\1{CUT}",
    ),
    (re.compile(r"\b(bearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1{CUT}"),
    (re.compile(r"\bhf_[A-Za-z0-9]{8,}"), CUT),
)


def without_secrets(text: str) -> str:
    """Cut passwords and tokens out of a message.

    These are user names and passwords in addresses, parameters such as `?token=`, Authorization headers, tokens of
    the hub, the value of HF_TOKEN and the passwords in HF_ENDPOINT and the addresses of proxies.

    text (str): A message, a log.
    RETURNS (str): The same, with *** in the place of each secret.
    """
    for secret in _known_secrets():
        text = text.replace(secret, CUT)
    for pattern, shown in _PATTERNS:
        text = pattern.sub(shown, text)
    return text


def _known_secrets() -> list[str]:
    """Of the environment, longest first: one may be part of another."""
    found = {os.environ.get(name, "").strip() for name in _TOKENS}
    for name in _ADDRESSES:
        address = os.environ.get(name, "")
        if "@" in address:
            try:
                password = urlsplit(address).password or ""
            except ValueError:
                continue
            found |= {password, unquote(password)}
    return sorted((secret for secret in found if len(secret) >= _SHORTEST), key=len, reverse=True)
