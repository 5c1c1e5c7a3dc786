"""Whether the From of a mail may be believed: what our own server says of it, and nothing else. Pure.

A From can be written by anybody. What is believed is the topmost Authentication-Results (RFC 8601), if it bears exactly the
name of our server (`channels.email.authservId`): servers put theirs above all that came with the mail. It must say that DMARC
passed for the very domain of the From; where that domain has no DMARC policy, that DKIM or SPF passed for it. Without all this
the sender is not verified. A From that two readers could read differently (two of them, two addresses, no plain ASCII, in a
header that was not read whole) is believed of nobody.
"""

from __future__ import annotations

import re

import attrs

from nanobot.channels.email.mime import Header

LONGEST_FIELD = 8000
"""Characters of an Authentication-Results; servers write some 500."""
_ADDRESS = re.compile(r"([A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64})@([A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*)")
_BRACKETED = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|[^<>"@,;:()\\]|\([^()\\<>]*\))*<([^<>\s"]+)>""", re.DOTALL)
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|;|[^;"(\\)]+', re.DOTALL)
_PAIR = re.compile(r'\s*([A-Za-z0-9._-]+(?:/\d+)?)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s"]+)(?=\s|$)', re.DOTALL)


@attrs.frozen
class Verdict:
    address: str
    """Of the From, in lower case; empty where it has none that can be read in one way only."""
    why: str = ""
    """Why it is not believed; empty if it is."""
    found: str = ""
    """The name that the topmost Authentication-Results bears."""

    @property
    def believed(self) -> bool:
        return not self.why


@attrs.frozen
class Result:
    """One statement of an Authentication-Results, such as `dmarc=pass header.from=example.org`."""

    method: str
    result: str
    properties: tuple[tuple[str, str], ...]

    def domains(self, *names: str) -> list[str]:
        return [value.rpartition("@")[2].lower().rstrip(".") for name, value in self.properties if name in names]


def judge(header: Header, authserv_id: str) -> Verdict:
    """Who a mail is from, and whether that is so."""
    address = sender(header)
    fields = header.all("authentication-results")
    server, results = read(fields[0]) if fields else ("", ())
    if not address:
        return Verdict("", "its From is not one plain address", server)
    if not header.clear:
        return Verdict(address, "its header is too long, or holds what is none: there may be another From", server)
    if not authserv_id:
        return Verdict(address, "channels.email.authservId is not set: nanobot channels test email finds it out", server)
    if not fields:
        return Verdict(address, "our server has not said whether its sender is real (no Authentication-Results)")
    if server != authserv_id.lower():
        said = f"{server[:80]!r}" if server else "a text that cannot be read"
        return Verdict(address, f"its topmost Authentication-Results is of {said}, not of {authserv_id!r}", server)
    return Verdict(address, _why(results, address.rpartition("@")[2]), server)


def sender(header: Header) -> str:
    """The one address of the one From, in lower case; else empty."""
    fields = header.all("from")
    text = fields[0].replace("\t", " ").strip() if len(fields) == 1 else ""
    if len(text) > LONGEST_FIELD or not text.isprintable():
        return ""
    found = _BRACKETED.fullmatch(text)
    return plain_address(found[1] if found else text)


def plain_address(text: str) -> str:
    """An address as everybody reads it, in lower case; empty if it is none."""
    match = _ADDRESS.fullmatch(text)
    return text.lower() if match and ".." not in text and not match[1].startswith(".") and not match[1].endswith(".") else ""


def read(field: str) -> tuple[str, tuple[Result, ...]]:
    """The server's name in lower case, and what it states; ("", ()) for what cannot be read."""
    head, *groups = _groups(field) or [""]
    found = re.fullmatch(r'\s*([^\s="]+|"[^"\\]*")(?:\s+\d+)?\s*', head)  # a name, and perhaps a version
    if found is None:
        return "", ()
    return found[1].strip('"').lower(), tuple(_result(group) for group in groups if group.strip())


def _groups(field: str) -> list[str]:
    """What stands between semicolons, without comments; nothing where a quote or a comment does not end."""
    groups = [""]
    at = 0
    while at < len(field) <= LONGEST_FIELD:
        if field[at] == "(":
            at = _after_comment(field, at)
            groups[-1] += " "
        elif match := _PIECE.match(field, at):
            if match[0] == ";":
                groups.append("")
            else:
                groups[-1] += match[0]
            at = match.end()
        else:
            return []
    return groups if at == len(field) else []


def _after_comment(field: str, at: int) -> int:
    """Where the comment ends that begins here; beyond the field if it does not, or if it ends within quotes, which it does where
    a server repeats an address such as `"x) ; dmarc=pass ("@example.org`."""
    depth, quotes = 0, 0
    while at < len(field):
        match field[at]:
            case "\\":
                at += 1
            case '"':
                quotes += 1
            case "(":
                depth += 1
            case ")":
                depth -= 1
            case _:
                pass
        at += 1
        if not depth:
            return len(field) + 1 if quotes % 2 else at
    return len(field) + 1


def _result(group: str) -> Result:
    """From `dmarc=pass header.from=example.org`. What cannot be read counts as no proof, and as failed if it is of DMARC."""
    pairs, at = [], 0
    while pair := _PAIR.match(group, at):
        pairs.append((pair[1].lower(), _plain(pair[2])))
        at = pair.end()
    method = re.split(r"[\s=/]", group.strip().lower(), maxsplit=1)[0]
    if not pairs or group[at:].strip():
        return Result(method, "unreadable", ())
    return Result(method, pairs[0][1].lower(), tuple(pairs[1:]))


def _plain(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token.startswith('"') else token


def _why(results: tuple[Result, ...], domain: str) -> str:
    """Why the domain is not proven by these; empty if it is."""
    dmarc = [result for result in results if result.method == "dmarc"]
    if any(result.result not in ("pass", "none", "bestguesspass") for result in dmarc):
        return f"it failed the check of {domain} (DMARC): it may be forged"
    passed = [result for result in dmarc if result.result == "pass"]
    if passed:
        proven = all(result.domains("header.from") == [domain] for result in passed)
        return "" if proven else f"what passed (DMARC) is not {domain}"
    if any(result.result == "pass" and domain in _proofs(result) for result in results):
        return ""
    return f"nothing proves that it comes from {domain} (neither DMARC nor DKIM nor SPF passed for it)"


def _proofs(result: Result) -> list[str]:
    match result.method:
        case "dkim":
            return result.domains("header.d") or result.domains("header.i")
        case "spf":
            return result.domains("smtp.mailfrom")
        case _:
            return []
