"""What `nanobot doctor` says about e-mail: what people get wrong, without asking a server."""

from __future__ import annotations

from nanobot.channels.email.quarantine import Quarantine
from nanobot.cli.findings import UNREAD, Facts, Finding, bad, ok, warn
from nanobot.config.schema import EmailConfig
from nanobot.journal import names

GOOGLE = "https://myaccount.google.com/apppasswords"
APP_PASSWORD_LETTERS = 16
"""Of Google's, which are shown in groups of four; the password of the account itself is refused there."""
PORTS = {143: ("imapUseSsl", False), 993: ("imapUseSsl", True), 465: ("smtpUseSsl", True), 587: ("smtpUseSsl", False)}
"""Whether it is encrypted from the first byte there."""
NO_PASSWORDS = ("outlook.com", "hotmail.com", "live.com", "msn.com", "office365.com")
"""Providers that let programs in by OAuth only."""


def email(facts: Facts) -> Finding:
    if facts.config is None:
        return UNREAD
    config = facts.config.channels.email
    if not config.enabled:
        return ok("not enabled")
    if not config.consent_granted:
        return bad('it does not start: set "consentGranted": true in channels.email when the mailbox\'s owner agrees')
    if wrong := _wrong(config):
        return bad(wrong)
    if not config.authserv_id:
        address = config.from_address or config.smtp_username or config.imap_username
        return bad(f"no sender is believed, all mail goes to quarantine: nanobot channels test email --to {address}")
    if spelled := [entry for entry in config.allow_from if entry != entry.lower()]:
        return warn(f"addresses in allowFrom are compared in lower case, write {spelled[0].lower()} for {spelled[0]}")
    waiting = len(Quarantine(facts.places.data / "channels" / names.encode("email")).rows())
    told = f", {waiting} mails in quarantine: nanobot channels quarantine list" if waiting else ""
    return ok(f"{config.imap_username} at {config.imap_host}{told}")


def _wrong(config: EmailConfig) -> str:
    """What cannot work; empty if nothing is seen."""
    host, password = config.imap_host.lower(), config.imap_password.reveal()
    if not (config.imap_host and config.imap_username and config.smtp_host and password):
        return "imapHost, imapUsername, imapPassword and smtpHost must be set in channels.email: nanobot guide email"
    if any(f".{host}".endswith(f".{name}") for name in NO_PASSWORDS):
        return f"{config.imap_host} lets nobody in by password any more: use a mailbox of another provider, nanobot guide email"
    if "gmail" in host and not _is_app_password(password):
        return f"imapPassword is no app password of Google (16 letters), and the account's own is refused: make one at {GOOGLE}"
    if config.smtp_username and not config.smtp_password:
        return "smtpPassword is not set; mostly it is the same as imapPassword"
    for port, encrypted in ((config.imap_port, config.imap_use_ssl), (config.smtp_port, config.smtp_use_ssl)):
        key, right = PORTS.get(port, ("", encrypted))
        if encrypted is not right:
            said = "is" if right else "is not"
            return f'port {port} {said} encrypted from the first byte: set "{key}": {str(right).lower()} in channels.email'
    return ""


def _is_app_password(password: str) -> bool:
    letters = password.replace(" ", "")
    return len(letters) == APP_PASSWORD_LETTERS and letters.isalpha()
