"""A real dovecot and a real postfix on loopback: own configuration, own ports, own certificate, nothing of the system's.

    with mail_servers(folder) as servers: ...       # as root: postfix starts for nobody else

Mail for `bot@test.example` that postfix takes is put into dovecot's mailbox by dovecot's own delivery agent, with the
Authentication-Results of `mx.test.example` on top, as a provider's server would; mail for anybody else, which it takes only from
who has logged in, lands in `servers.sent()`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

PATIENCE_S = 20.0
ADDRESS, PASSWORD = "bot@test.example", "one two three"
SERVER = "mx.test.example"


@attrs.define
class Servers:
    folder: Path
    imap: int
    """Port of TLS from the first byte."""
    imap_plain: int
    """Port of STARTTLS."""
    smtp: int
    """Port of STARTTLS."""
    smtps: int

    @property
    def authority(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def inbox(self) -> Path:
        return self.folder / "mail" / "bot"

    def put(self, mail: bytes) -> None:
        """Into the mailbox, as dovecot's delivery does it."""
        _run(self._deliverer(), mail)

    def sent(self) -> list[bytes]:
        """What postfix delivered to others, the oldest first."""
        found = sorted((self.folder / "sent").glob("*"), key=lambda path: path.stat().st_mtime_ns)
        return [path.read_bytes() for path in found if not path.name.startswith(".")]

    def seen(self) -> int:
        """Mails that are marked as read."""
        return int(self.ask("fetch", "-u", "bot", "uid", "mailbox", "INBOX", "SEEN").count(b"uid:"))

    def ask(self, *words: str) -> bytes:
        return _run(["doveadm", "-c", str(self.folder / "dovecot.conf"), *words])

    def _deliverer(self) -> list[str]:
        return ["/usr/lib/dovecot/dovecot-lda", "-c", str(self.folder / "dovecot.conf"), "-d", "bot", "-e"]

    def empty(self) -> None:
        """Nothing in the mailbox, and nothing sent."""
        self.ask("expunge", "-u", "bot", "mailbox", "INBOX", "all")
        for path in (self.folder / "sent").glob("*"):
            path.unlink()


def _run(argv: list[str], data: bytes = b"") -> bytes:
    done = subprocess.run(argv, input=data, capture_output=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr.decode(errors='replace')}"
    return done.stdout


@contextmanager
def mail_servers(folder: Path) -> Iterator[Servers]:
    """Both run for the block. `folder`: short, empty, and open to other users (not below a private /tmp/pytest-of-root)."""
    servers = Servers(folder, *_free_ports(4))
    folder.chmod(0o755)
    _certificate(folder)
    dovecot = _start_dovecot(servers)
    try:
        postfix = _start_postfix(servers)
        try:
            for port in (servers.imap, servers.imap_plain, servers.smtp, servers.smtps):
                _wait(port)
            yield servers
        finally:
            _end(postfix)
    finally:
        _end(dovecot)
        for left in _pids(folder):
            os.kill(left, signal.SIGKILL)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait(port: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < until, f"nothing listens on {port}"
            time.sleep(0.02)
        else:
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _pids(folder: Path) -> list[int]:
    """Processes that live in the folder still."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdecimal() and os.readlink(f"/proc/{name}/cwd").startswith(str(folder)):
                found.append(int(name))
        except OSError:
            continue
    return found


def _certificate(folder: Path) -> None:
    """An authority, and a certificate of `localhost` that it has signed."""
    quiet = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-batch"]
    ca, key = str(folder / "ca.pem"), str(folder / "ca.key")
    _run([*quiet, "-x509", "-days", "2", "-subj", "/CN=test authority", "-keyout", key, "-out", ca])
    request, extra = str(folder / "tls.csr"), folder / "tls.ext"
    extra.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    _run([*quiet, "-subj", "/CN=localhost", "-keyout", str(folder / "tls.key"), "-out", request])
    signed = ["openssl", "x509", "-req", "-in", request, "-CA", ca, "-CAkey", key, "-CAcreateserial", "-days", "2"]
    _run([*signed, "-extfile", str(extra), "-out", str(folder / "tls.pem")])


# --- dovecot


def _start_dovecot(servers: Servers) -> subprocess.Popen[bytes]:
    folder = servers.folder
    for name in ("mail", "run", "state", "sent"):
        (folder / name).mkdir()
    (folder / "users").write_text(f"bot:{{PLAIN}}{PASSWORD}:65534:65534::{folder}/mail/bot\n")
    (folder / "users").chmod(0o644)
    for name in ("mail", "sent"):
        shutil.chown(folder / name, 65534, 65534)
    for name in ("dovecot.log", "dovecot.info"):  # written by who delivers, too
        (folder / name).touch()
        (folder / name).chmod(0o666)
    config = folder / "dovecot.conf"
    config.write_text(_DOVECOT.format(folder=folder, imap=servers.imap, plain=servers.imap_plain))
    return subprocess.Popen(["dovecot", "-F", "-c", str(config)], cwd=folder, stdin=subprocess.DEVNULL)


_DOVECOT = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
info_log_path = {folder}/dovecot.info
protocols = imap
listen = 127.0.0.1
instance_name = test
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
mail_location = maildir:~
first_valid_uid = 100
mail_max_userip_connections = 1000
ssl = yes
ssl_cert = <{folder}/tls.pem
ssl_key = <{folder}/tls.key
ssl_dh =
disable_plaintext_auth = no
postmaster_address = postmaster@test.example
hostname = mx.test.example
imap_idle_notify_interval = 2 mins
auth_failure_delay = 0
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {plain}
  }}
  inet_listener imaps {{
    port = {imap}
    ssl = yes
  }}
}}
service auth {{
  unix_listener postfix-auth {{
    mode = 0666
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%n {folder}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%n {folder}/users
}}
"""


# --- postfix


def _start_postfix(servers: Servers) -> subprocess.Popen[bytes]:
    folder = servers.folder
    config, spool, data = folder / "postfix", folder / "spool", folder / "postdata"
    for made in (config, spool, data):
        made.mkdir()
    shutil.chown(data, "postfix")
    (config / "main.cf").write_text(_MAIN.format(folder=folder))
    (config / "master.cf").write_text(_MASTER.format(folder=folder, smtp=servers.smtp, smtps=servers.smtps))
    (config / "deliver").write_text(_DELIVER.format(folder=folder, server=SERVER))
    (config / "deliver").chmod(0o755)
    with (folder / "postfix.said").open("wb") as said:
        argv = ["postfix", "-c", str(config), "start-fg"]
        return subprocess.Popen(argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said)


_MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/postdata
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.test.example
mydestination =
mynetworks =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
default_transport = handover:
relay_domains =
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
message_size_limit = 40000000
smtpd_tls_cert_file = {folder}/tls.pem
smtpd_tls_key_file = {folder}/tls.key
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {folder}/run/postfix-auth
smtpd_relay_restrictions = permit_sasl_authenticated, check_recipient_access inline:{{bot@test.example=OK}}, reject
smtpd_recipient_restrictions = check_recipient_access inline:{{nobody@test.example=reject, later@test.example=defer}}
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
in_flow_delay = 0
"""

_MASTER = """
127.0.0.1:{smtp} inet n - n - - smtpd
127.0.0.1:{smtps} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
handover unix - n n - - pipe
  flags=DRhu user=nobody argv={folder}/postfix/deliver ${{sender}} ${{recipient}}
"""

_DELIVER = """#!/bin/sh
# As a provider's server would: what it says of the sender stands on top of all that came with the mail.
case "$2" in
bot@test.example)
    {{ printf 'Authentication-Results: {server};\\n\\tdmarc=pass header.from=%s\\n' "${{1#*@}}"; cat; }} |
        /usr/lib/dovecot/dovecot-lda -c {folder}/dovecot.conf -d bot -e
    ;;
*)
    half=$(mktemp {folder}/sent/.XXXXXXXX) && cat > "$half" && mv "$half" "{folder}/sent/$(basename "$half" | cut -c2-)"
    ;;
esac
"""
