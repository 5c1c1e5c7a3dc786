"""Addresses of pages as they come from models, pages and redirects, taken apart once and strictly: pure.

`parse` gives a `Target`: what is resolved, what is in the certificate, `Host` and the request line all come from it, so no two
parsers can disagree about where a request goes. What browsers repair is refused here where it concerns the host: user and
password, backslashes, escapes, control characters, numbers that are IP addresses in disguise. Path and query are only
escaped.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote, urljoin

import attrs

from nanobot.security.egress_errors import Forbidden

URL_CHARS = 16_384
"""Most characters of an address: long queries are, hostile ones are longer."""
DEFAULT_PORTS = {"http": 80, "https": 443}
_SHAPE = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<slashes>//)?(?P<authority>[^/?#]*)(?P<rest>[^#]*)")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{0,5}))?")
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_SAFE = "!$%&'()*+,-./:;=?@_~[]|"
"""Stays as it is in path and query; `%` because escapes are already there."""


@attrs.frozen
class Target:
    """Where a request goes. `host` is ASCII: a name without a trailing dot, or an IP address without brackets."""

    scheme: str
    host: str
    port: int
    path: str
    """With the query, escaped; begins with a slash."""

    @property
    def authority(self) -> str:
        """As it stands in `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"

    def same_origin(self, other: Target) -> bool:
        return (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port)


def parse(url: str) -> Target:
    """Raises: Forbidden."""
    url = _clean(url)
    found = _SHAPE.match(url)
    if found is None:
        raise Forbidden(url, "it is no full address; write it like https://example.com/page")
    scheme = found["scheme"].lower()
    if scheme not in DEFAULT_PORTS:
        raise Forbidden(url, f"{scheme} is not fetched, only http and https are")
    if not found["slashes"] or not found["authority"]:
        raise Forbidden(url, "it has no host; write it like https://example.com/page")
    host, port = _authority(url, found["authority"])
    rest = found["rest"] if found["rest"].startswith("/") else f"/{found['rest']}"
    return Target(scheme, host, port or DEFAULT_PORTS[scheme], quote(rest, safe=_SAFE))


def join(base: Target, location: str) -> Target:
    """Where a redirect leads. Raises: Forbidden."""
    location = _clean(location)
    return parse(location if _SCHEME.match(location) else urljoin(base.url, location))


def _clean(url: str) -> str:
    url = url.strip(" ")
    if len(url) > URL_CHARS:
        raise Forbidden(url[:80] + "…", f"an address may have {URL_CHARS:,} characters")
    if any(ord(char) < 0x20 or 0x7F <= ord(char) <= 0x9F or 0xD800 <= ord(char) <= 0xDFFF for char in url):
        raise Forbidden(url, "it holds control characters")
    return url


def _authority(url: str, authority: str) -> tuple[str, int | None]:
    if "@" in authority:
        raise Forbidden(url.replace(authority, "…@" + authority.rpartition("@")[2]), "it holds a user name or password")
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise Forbidden(url, "its host and port cannot be read")
    port = int(found["port"]) if found["port"] else None
    if port is not None and not 0 < port < 65536:
        raise Forbidden(url, "there is no such port")
    host = found["host"]
    return (_bracketed(url, host[1:-1]) if host.startswith("[") else _named(url, host)), port


def _bracketed(url: str, text: str) -> str:
    try:
        address = IPv6Address(text)
    except AddressValueError:
        raise Forbidden(url, "what stands in brackets is no IPv6 address") from None
    if address.scope_id is not None:
        raise Forbidden(url, "an address with a zone leads to a network of this machine")
    return address.compressed


def _named(url: str, host: str) -> str:
    if not host.isascii():
        host = _to_ascii(url, host)
    host = host.lower().removesuffix(".")
    if not _NAME.fullmatch(host):
        raise Forbidden(url, "its host is no name that can be looked up")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        return _dotted(url, host)
    return host


def _to_ascii(url: str, host: str) -> str:
    import idna  # noqa: PLC0415 -- its tables cost 10 ms, and few names need them

    try:
        return idna.encode(host, uts46=True, std3_rules=True).decode("ascii")
    except idna.IDNAError:
        raise Forbidden(url, "its host is no name that can be looked up") from None


def _dotted(url: str, host: str) -> str:
    """A host that ends in a number is an IPv4 address to every resolver; only the usual form of it is taken."""
    try:
        return str(IPv4Address(host))
    except AddressValueError:
        raise Forbidden(url, "its host is an IP address in an unusual form; write it as four decimal numbers") from None
