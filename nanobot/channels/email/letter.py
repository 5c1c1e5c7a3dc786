"""What a mail is to us: which message, in which thread, whether a machine wrote it, and which of its words are its sender's.
Pure.

*Thread.* A thread is a session: its topic. A Message-ID of ours carries the topic of its session, so that an answer to it finds
the way back; any other thread is named by a hash of its first Message-ID (References, else In-Reply-To, else its own). Both can
be read from each mail alone, so nothing is kept, and nothing can be lost.

*Whose words.* What a verified sender wrote is theirs. What they quote or forward was written by somebody else, and a model that
reads it may obey it: so quotes below an answer to a mail of ours are left out (they are ours, and stand in the conversation),
and whatever else is quoted, forwarded, or stands in an answer to the mail of somebody else makes the message tainted.
"""

from __future__ import annotations

import hashlib
import re

import attrs

from nanobot.channels.email.mime import Header, Mail, decoded

OURS = "nanobot"
NO_TOPIC = "0"
TOPIC_DIGITS = 16
"""Hex digits: 64 bits, for the threads of one correspondent."""
LONGEST_ID = 150
"""Characters of a Message-ID that stands in the message's identity as it is."""
WINDOW = 4
"""Times the characters that are passed on, which are looked at: quotes that are left out are not counted."""
MOST_REFERENCES = 20
"""Of a thread that an answer names: the first and the last ones."""
_ID = re.compile(r"<([!-;=?-~]{1,400})>")
_OUR_ID = re.compile(rf"{OURS}\.([0-9a-z-]{{1,64}})\.[0-9a-f]{{24}}@.+")
_FORWARD = re.compile(r"\s*(fwd?|wg|tr|rv|enc|i|doorst|vs|vl|pd|转发|轉寄|fs|vb)\s*(\[\d+\])?\s*[:：]", re.IGNORECASE)
_ANSWER = re.compile(r"\s*(re|aw|sv|antw?|res|rif|odp|ref|r|回复|回覆|vs|vá|ynt)\s*(\[\d+\])?\s*[:：]", re.IGNORECASE)
_QUOTED = re.compile(r"^[ \t]*>", re.MULTILINE)
_BEGINS_QUOTE = re.compile(
    r"""^(?:
        -{2,}\s?(?:original\s(?:message|appointment)|forwarded\smessage|ursprüngliche\snachricht|message\sd'origine
            |mensaje\soriginal|messaggio\soriginale|weitergeleitete\snachricht)\s?-{2,}.*
      | begin\sforwarded\smessage:.*
      | _{20,}
      | \*?(?:from|von|de|da|van|från|fra|od)\s?:\*?\s.{1,200}\n(?:.{0,200}\n){0,2}?
        \*?(?:sent|date|to|gesendet|datum|an|envoyé|enviado|inviato|verzonden|skickat|sendt|subject)\s?:\*?\s.*
      | (?:on|am|le|el|il|op|den|em|w\sdniu|dnia)\s[^\n]{5,150}(?:\n[^\n]{0,150}){0,2}?
        (?:wrote|(?:schrieb|schreef|skrev)[^\n]{0,100}|écrit|escribió|scritto|escreveu|napisał\(?a?\)?)\s?:[ \t]*
    )$""",
    re.MULTILINE | re.IGNORECASE | re.VERBOSE,
)
_SIGNATURE = re.compile(r"^-- ?$", re.MULTILINE)
_MACHINES = re.compile(
    r"(mailer-daemon|postmaster|no-?reply|do-?not-?reply|bounces?|.*-bounces|listserv|majordomo|.*-request)(\+.*)?", re.IGNORECASE
)


@attrs.frozen
class Words:
    """The text that is passed on."""

    text: str
    tainted: bool
    """Somebody else wrote some of it."""


@attrs.frozen
class Thread:
    """Where a mail stands."""

    topic: str | None
    to_us: bool
    """It answers a mail of ours."""
    to_others: bool
    """It answers a mail that is not ours."""
    references: tuple[str, ...]
    """Message-IDs of the thread so far, this one the last."""


def message_id(header: Header) -> str:
    """Its Message-ID without brackets; empty where it has none."""
    found = _ID.search(header.get("message-id"))
    return found[1] if found else ""


def identity(header: Header, body: bytes) -> str:
    """Of the message: the same for each copy of it, another for what only bears the same Message-ID."""
    digest = hashlib.sha256(b"\0".join(header.get(name).encode() for name in ("from", "date", "subject", "message-id")))
    digest.update(body)
    name = message_id(header)
    return f"{name if len(name) <= LONGEST_ID else ''}#{digest.hexdigest()[:16]}"


def is_mail(identity: str) -> bool:
    """Whether it is a mail's: a job, too, has an identity that is answered."""
    return "#" in identity


def answered(identity: str) -> str:
    """The Message-ID in an identity; empty where it was none or too long."""
    return identity.rpartition("#")[0]


def thread(header: Header) -> Thread:
    before = _ID.findall(header.get("references")) or []
    direct = _ID.findall(header.get("in-reply-to"))
    own = message_id(header)
    known = [name for name in (*before, *direct) if _OUR_ID.fullmatch(name)]
    last = direct[-1] if direct else before[-1] if before else ""
    references = _few(tuple(dict.fromkeys((*before, *direct, *([own] if own else [])))))
    if known:
        match = _OUR_ID.fullmatch(direct[-1] if direct and direct[-1] in known else known[-1])
        assert match is not None
        return Thread(None if match[1] == NO_TOPIC else match[1], True, last not in known, references)
    root = (*before, *direct, own)[0] or f"{header.get('date')} {header.get('subject')}"
    return Thread(hashlib.sha256(root.encode()).hexdigest()[:TOPIC_DIGITS], False, bool(before or direct), references)


def _few(references: tuple[str, ...]) -> tuple[str, ...]:
    return references if len(references) <= MOST_REFERENCES else (references[0], *references[1 - MOST_REFERENCES :])


def our_id(topic: str | None, key: str, domain: str) -> str:
    """The Message-ID of a mail of ours, always the same for the same message. `key`: names the message among all of ours."""
    name = topic if topic is not None and re.fullmatch(r"[0-9a-z-]{1,64}", topic) else NO_TOPIC
    return f"{OURS}.{name}.{hashlib.sha256(key.encode()).hexdigest()[:24]}@{domain}"


def machine(header: Header, own: frozenset[str]) -> str:
    """Why nobody is to be answered: a machine wrote it, or we did. Empty for a person. `own`: addresses of ours."""
    address = header.get("from").rpartition("<")[2].rstrip("> ").lower()
    if address in own or _OUR_ID.fullmatch(message_id(header)):
        return "it is a mail of ours"
    auto = header.get("auto-submitted").partition(";")[0].strip().lower()
    if auto and auto != "no":
        return f"a machine wrote it (Auto-Submitted: {decoded(auto)[:40]})"
    if header.get("precedence").strip().lower() in ("bulk", "list", "junk", "auto_reply"):
        return "it is sent in bulk (Precedence)"
    for name in ("list-id", "list-post", "list-unsubscribe", "feedback-id"):
        if header.get(name):
            return f"it is of a mailing list or sent in bulk ({name.title()})"
    suppress = header.get("x-auto-response-suppress").lower()
    if any(word in suppress for word in ("all", "autoreply", "oof")):
        return "it asks not to be answered by machines (X-Auto-Response-Suppress)"
    if header.get("return-path").replace(" ", "") == "<>" or header.get("content-type").lower().startswith("multipart/report"):
        return "it is a report on a mail, such as that one could not be delivered"
    if header.get("x-autoreply") or header.get("x-autorespond"):
        return "a machine wrote it (X-Autoreply)"
    return "its address takes no answers" if _MACHINES.fullmatch(address.partition("@")[0]) else ""


def words(mail: Mail, text: str, where: Thread, most: int) -> Words:
    """What is passed on of a mail with this text, at most `most` characters of it."""
    subject = mail.header.shown("subject")
    text, others = _own(text[: WINDOW * most], to_us=where.to_us and not where.to_others)
    others = (
        others or mail.holds_others or where.to_others or bool(_FORWARD.match(subject)) or bool(mail.header.get("resent-from"))
    )
    others = others or (bool(_ANSWER.match(subject)) and not where.to_us)
    if subject and not where.to_us and not text.startswith("/"):
        text = f"Subject: {subject}\n\n{text}"
    notes = list(mail.notes)
    if len(text) > most:
        text = text[:most]
        notes.append(f"the text was cut after {most:,} characters (channels.email.maxBodyChars)")
    return Words("\n".join([text.strip(), *(f"[{note}]" for note in notes)]).strip(), others)


def _own(text: str, *, to_us: bool) -> tuple[str, bool]:
    """The text without its signature and, in an answer to us, without the quote below it; and whether quotes are left."""
    quote = _BEGINS_QUOTE.search(text)
    if to_us and quote is not None and _only_quotes(text[quote.end() :], above=text[: quote.start()]):
        text = text[: quote.start()]
    if to_us:
        text = _without_last_quote(text)
    quote = _BEGINS_QUOTE.search(text)
    text = text if quote is not None else _unsigned(text)
    return text.strip(), quote is not None or _QUOTED.search(text) is not None


def _only_quotes(below: str, *, above: str) -> bool:
    """Whether no word of the sender's stands below the line that begins a quote: all of it is marked, or none and it is the
    custom of their program to write above."""
    lines = [line.strip() for line in _unsigned(below).split("\n") if line.strip()]
    marked = [line.startswith(">") for line in lines]
    return all(marked) or (not any(marked) and bool(above.strip()))


def _unsigned(text: str) -> str:
    signature = _SIGNATURE.search(text)
    return text if signature is None else text[: signature.start()]


def _without_last_quote(text: str) -> str:
    lines = _unsigned(text).rstrip().split("\n")
    while lines and (not lines[-1].strip() or lines[-1].lstrip().startswith(">")):
        lines.pop()
    return "\n".join(lines)
