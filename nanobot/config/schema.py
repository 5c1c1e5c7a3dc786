"""The configuration as one frozen tree. Attribute names are snake_case here and camelCase in the file.

Every field is made with `key(default, help)`: the help text is what `nanobot config schema` prints and what the guide is
checked against. Units are in the help or in the name (`_s` seconds). Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar

import attrs

T = TypeVar("T")
CONFIG_VERSION = 1

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max", "adaptive"]


class Secret:
    """A string that prints as `***`. `reveal()` is the only way to its text. Empty is false."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "***" if self._text else "''"

    __str__ = __repr__

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        raise TypeError("a secret is not pickled")


def _masked(value: object) -> str:
    return "***" if value else repr(value)


def key(default: T, help: str, *, minimum: float | None = None, maximum: float | None = None, secret: bool = False) -> T:
    """A configuration key: its default, its line of help, and the closed range that a number must lie in.

    `secret` marks values that are no `Secret` and are masked all the same (headers, which hold tokens).
    """
    meta = {"help": help, "minimum": minimum, "maximum": maximum, "secret": secret}
    field: T = attrs.field(default=default, metadata=meta, repr=_masked if secret else True)
    return field


@attrs.frozen
class Deadlines:
    connect: float = key(10.0, "Seconds for the connection to a model service.", minimum=0.1, maximum=600)
    first_token: float = key(90.0, "Seconds until a model's first token.", minimum=0.1, maximum=3600)
    between_tokens: float = key(90.0, "Seconds between two tokens of a model.", minimum=0.1, maximum=3600)
    whole_answer: float = key(300.0, "Seconds for an answer that is not streamed.", minimum=0.1, maximum=7200)
    tool: float = key(60.0, "Seconds for a tool call that has no deadline of its own.", minimum=0.1, maximum=86400)
    turn: float = key(1800.0, "Seconds for a whole turn.", minimum=1, maximum=86400)
    subagent: float = key(900.0, "Seconds for the task of a subagent.", minimum=1, maximum=86400)
    consolidation: float = key(120.0, "Seconds for one consolidation of memory.", minimum=1, maximum=3600)


@attrs.frozen
class ModelSettings:
    """Overrides for one model; unset keys fall back to `agents.defaults`."""

    temperature: float | None = key(None, "Sampling temperature; unset leaves it to the service.", minimum=0, maximum=2)
    max_tokens: int | None = key(None, "Most tokens of one answer.", minimum=1)
    reasoning_effort: Effort | None = key(None, "How hard a reasoning model thinks.")
    context_window: int | None = key(None, "Tokens the model can read.", minimum=1024)
    vision: bool | None = key(None, "Whether the model sees pictures; unset means what is known of it.")
    extra_body: Mapping[str, object] = key({}, "Extra fields for the request's body, as they are.")


@attrs.frozen
class AgentDefaults:
    workspace: str = key("~/.nanobot/workspace", "Folder the assistant works in.")
    model: str | None = key(None, "Model to use; unset means the provider's default.")
    provider: str = key("auto", "Provider to use, or auto to choose by model and keys.")
    max_tokens: int = key(8192, "Most tokens of one answer.", minimum=1)
    temperature: float | None = key(None, "Sampling temperature; unset leaves it to the service.", minimum=0, maximum=2)
    reasoning_effort: Effort | None = key(None, "How hard a reasoning model thinks.")
    max_tool_iterations: int = key(200, "Most model calls in one turn.", minimum=1, maximum=10000)
    max_concurrent_subagents: int = key(3, "Most subagents of a conversation at a time.", minimum=1, maximum=50)
    max_subagent_iterations: int = key(40, "Most model calls for the task of a subagent.", minimum=1, maximum=10000)
    memory_window: int = key(100, "Most messages of history in a prompt.", minimum=4, maximum=10000)
    context_window: int | None = key(
        None, "Tokens the model can read; unset means what is known of the model, else 8192.", minimum=1024
    )
    max_tool_result_chars: int = key(
        16000, "Most characters of a tool result in the conversation; the rest goes to a file.", minimum=500
    )
    stream: bool = key(True, "Ask model services for a stream of tokens.")
    timezone: str = key("", "Time zone of people and of scheduled work, such as Europe/Berlin; unset: this machine's.")
    deadlines: Deadlines = key(Deadlines(), "How long each kind of work may take.")
    disabled_skills: tuple[str, ...] = key((), "Skills that are not used, by name.")
    retry_delays: tuple[float, ...] = key((1.0, 2.0, 4.0), "Seconds before each new attempt of a failed model call; none: [].")


@attrs.frozen
class AgentsConfig:
    defaults: AgentDefaults = key(AgentDefaults(), "Settings of the assistant.")
    models: Mapping[str, ModelSettings] = key({}, "Settings per model, by the model's name.")


@attrs.frozen
class ProviderConfig:
    api_key: Secret = key(Secret(), "Key of the service.")
    api_base: str | None = key(None, "Address of the service; unset means its own.")
    extra_headers: Mapping[str, str] = key({}, "Extra HTTP headers.", secret=True)
    extra_body: Mapping[str, object] = key({}, "Extra fields for every request's body.")


Sandbox = Literal["auto", "bwrap", "off"]


@attrs.frozen
class ExecConfig:
    enable: bool = key(True, "Offer the exec tool.")
    timeout: float = key(60.0, "Seconds for one command.", minimum=0.1, maximum=86400)
    path_append: str = key("", "Folders appended to PATH, separated by colons.")
    path_prepend: str = key("", "Folders put before PATH, separated by colons.")
    allowed_env_keys: tuple[str, ...] = key((), "Environment variables that commands may see beside HOME, LANG, PATH and TERM.")
    sandbox: Sandbox = key(
        "auto",
        "Sandbox of commands: auto (bubblewrap where it works; where it does not, every command asks), "
        "bwrap (no command without it), off (every command asks).",
    )
    sandbox_ro_binds: tuple[str, ...] = key((), "Folders beside the system's that commands may read in the sandbox.")
    sandbox_rw_binds: tuple[str, ...] = key((), "Folders beside the workspace that commands may write in the sandbox.")
    network: bool = key(False, "Let commands in the sandbox reach the network without asking.")
    processes: int = key(256, "Most processes that a command may have at a time in the sandbox.", minimum=8, maximum=65536)
    background_s: float = key(86400.0, "Seconds that a command may run in the background.", minimum=1, maximum=2592000)


@attrs.frozen
class FileConfig:
    enable: bool = key(True, "Offer the file tools.")


SearchProvider = Literal["duckduckgo", "brave", "tavily", "searxng", "exa", "jina", "serper", "kagi"]


@attrs.frozen
class WebSearchConfig:
    provider: SearchProvider | None = key(None, "Search service; unset: brave where there is a key for it, else duckduckgo.")
    api_key: Secret = key(Secret(), "Key of the service; unset: its variable in the environment.")
    base_url: str = key("", "Address of the service; unset: its own. searxng needs the one of your server.")
    max_results: int = key(5, "Results of a search where the model asks for no number.", minimum=1, maximum=20)
    timeout: float = key(30.0, "Seconds for one search.", minimum=0.1, maximum=600)


@attrs.frozen
class WebToolsConfig:
    enable: bool = key(True, "Offer the web tools.")
    search: WebSearchConfig = key(WebSearchConfig(), "The tool web_search: nanobot guide tools.")
    proxy: Secret = key(Secret(), "Proxy of the web tools, http or socks5: http://user:password@host:port.")
    user_agent: str = key("", "What the web tools call themselves; unset: nanobot and its version.")


Decision = Literal["allow", "ask", "deny"]
Who = Literal["owner", "paired", "group", "scheduled"]


@attrs.frozen
class PolicyRule:
    """An exception to the table of the guide's page `policy`; every key that is set must fit."""

    tool: str = key("*", "Row of the table that it is about, such as exec or exec:network; * stands for any letters.")
    pattern: str | None = key(None, "What the call is about: command, path, address or chat; * stands for any letters.")
    channel: str | None = key(None, "Channel that the order came by.")
    who: Who | None = key(None, "Who gave the order: owner, paired, group or scheduled.")
    tainted: bool | None = key(None, "Whether text of strangers stands in the conversation.")
    decision: Decision = key("ask", "What becomes of the call: allow, ask (the owner) or deny.")


@attrs.frozen
class ApprovalsConfig:
    expire_s: float = key(86400.0, "Seconds that a call waits for the owner's word.", minimum=10, maximum=2592000)


McpType = Literal["auto", "stdio", "sse", "streamableHttp"]
McpAuth = Literal["auto", "oauth", "none"]


@attrs.frozen
class McpServerConfig:
    """A server of the Model Context Protocol: a command, or an address."""

    type: McpType = key(
        "auto", "How to speak to it: auto (a command: stdio; an address ending in /sse: sse; else streamableHttp)."
    )
    command: str = key("", "Program that is the server, spoken to by its input and output.")
    args: tuple[str, ...] = key((), "Arguments of the program.")
    env: Mapping[str, str] = key({}, "Environment variables of the program, beside HOME, LANG, PATH and the like.", secret=True)
    cwd: str = key("", "Folder that the program runs in; unset: the workspace.")
    url: str = key("", "Address of the server, https://…")
    headers: Mapping[str, str] = key({}, "HTTP headers for the server.", secret=True)
    networks: tuple[str, ...] = key(
        (), "Networks (CIDR) beside the public ones that the address of this server may lead to, such as 127.0.0.0/8."
    )
    auth: McpAuth = key("auto", "oauth, or auto: with the login of nanobot mcp login, where there is one; none: without.")
    tool_timeout: float = key(30.0, "Seconds for one call.", minimum=0.1, maximum=86400)
    enabled_tools: tuple[str, ...] = key(
        ("*",), "Tools that are offered, by their names there or here; *: all, resources and prompts too."
    )
    trusted: bool = key(False, "What it says does not count as text of strangers.")


@attrs.frozen
class ToolsConfig:
    restrict_to_workspace: bool = key(True, "Keep file tools inside the workspace.")
    exec: ExecConfig = key(ExecConfig(), "The exec tool.")
    file: FileConfig = key(FileConfig(), "The file tools.")
    web: WebToolsConfig = key(WebToolsConfig(), "The web tools.")
    ssrf_whitelist: tuple[str, ...] = key(
        (), "Networks (CIDR) beside the public ones that addresses in pages, media and tools may lead to."
    )
    policy: tuple[PolicyRule, ...] = key((), "Exceptions to what a tool may do for whom; the first that fits counts.")
    approvals: ApprovalsConfig = key(ApprovalsConfig(), "Calls that wait for the owner's word.")
    mcp_servers: Mapping[str, McpServerConfig] = key({}, "Servers of the Model Context Protocol, by name: nanobot guide mcp.")


GroupPolicy = Literal["mention", "open", "allowlist"]
OnParked = Literal["keep", "exit"]


@attrs.frozen
class ChannelConfig:
    """What every channel has."""

    enabled: bool = key(False, "Connect to this network.")
    allow_from: tuple[str, ...] = key(
        (), "Users who may talk to the assistant; empty: nobody but owners and paired users; *: everybody."
    )
    group_policy: GroupPolicy = key(
        "mention", "What is answered in groups: mention, open (everything), or allowlist (groups named)."
    )
    group_allow_from: tuple[str, ...] = key((), "Groups that are answered under allowlist, by their ids.")
    send_progress: bool | None = key(None, "As channels.sendProgress, for this channel.")
    send_tool_hints: bool | None = key(None, "As channels.sendToolHints, for this channel.")


@attrs.frozen
class WebConfig(ChannelConfig):
    """The page that the gateway serves."""

    enabled: bool = key(True, "Serve the page's chat.")


@attrs.frozen
class TelegramConfig(ChannelConfig):
    """A bot of Telegram."""

    token: Secret = key(Secret(), "Token of the bot, from @BotFather.")
    proxy: Secret = key(Secret(), "Proxy to Telegram, http or socks5: http://user:password@host:port.")
    api_base: str = key("https://api.telegram.org", "Address of the Bot API server.")
    file_api_base: str = key("", "Address of that server's files; unset: apiBase with /file behind it.")
    reply_to_message: bool = key(False, "Quote the message that is answered, in private chats too; in groups it always is.")
    react_emoji: str = key("👀", "Reaction to a message that was taken; empty: none.")
    done_emoji: str = key("", "Reaction to a message that was answered; empty: the first one is taken away.")
    streaming: bool = key(True, "Show answers while they grow, by editing one message.")
    poll_s: float = key(
        50.0, "Seconds that a request for messages stays open; less where a proxy cuts long ones.", minimum=0.1, maximum=50
    )


@attrs.frozen
class EmailConfig(ChannelConfig):
    """A mailbox of the assistant's own, read by IMAP and answered by SMTP."""

    send_progress: bool | None = key(False, "As channels.sendProgress, for this channel: each word between steps is a mail.")
    consent_granted: bool = key(False, "The owner of the mailbox agrees that the assistant reads and answers its mail.")
    imap_host: str = key("", "Server that mail is read from.")
    imap_port: int = key(993, "Its port.", minimum=1, maximum=65535)
    imap_username: str = key("", "Name to log in there, mostly the address.")
    imap_password: Secret = key(Secret(), "Password there; many providers want an app password.")
    imap_mailbox: str = key("INBOX", "Folder of mail that is read.")
    imap_use_ssl: bool = key(True, "Encrypt from the first byte (port 993); false: by STARTTLS (port 143).")
    smtp_host: str = key("", "Server that mail is sent by.")
    smtp_port: int = key(587, "Its port.", minimum=1, maximum=65535)
    smtp_username: str = key("", "Name to log in there; empty: none is asked for.")
    smtp_password: Secret = key(Secret(), "Password there.")
    smtp_use_tls: bool = key(True, "Encrypt by STARTTLS (port 587); false only matters for a server on this machine.")
    smtp_use_ssl: bool = key(False, "Encrypt from the first byte (port 465).")
    ca_file: str = key("", "Certificate of the authority of one's own servers, PEM; the system's count besides.")
    from_address: str = key("", "Address that mail is sent from; unset: smtpUsername or imapUsername.")
    authserv_id: str = key("", "Name that our server puts in Authentication-Results: nanobot channels test email finds it out.")
    auto_reply_enabled: bool = key(True, "Answer mails; false: only messages that answer none are sent.")
    poll_interval_seconds: float = key(
        30.0, "Seconds between two looks where the server does not tell of news.", minimum=5, maximum=3600
    )
    mark_seen: bool = key(True, "Mark mails as read once they are taken.")
    max_body_chars: int = key(12000, "Most characters of a mail that are passed on.", minimum=100, maximum=1_000_000)
    subject_prefix: str = key("Re: ", "Put before the subject of answers.")
    mails_per_hour: int = key(60, "Mails of one sender that are taken in an hour; more wait unread.", minimum=1, maximum=100_000)


@attrs.frozen
class WhatsAppConfig(ChannelConfig):
    """A number of WhatsApp, through the bridge."""

    autostart: bool = key(True, "Run the bridge; off: one that somebody else runs is connected to.")
    bridge_url: str = key(
        "",
        "Address of the bridge, ws://127.0.0.1:PORT, on this machine; unset: any free port, or 3001 where autostart is off.",
    )
    bridge_token: Secret = key(Secret(), "Token of the bridge; unset: one is made and kept in the data directory.")
    read_receipts: bool = key(True, "Show people that their messages were read, when an answer begins.")


@attrs.frozen
class TranscriptionConfig:
    """Voice messages as text."""

    enabled: bool = key(True, "Turn voice messages into text.")
    provider: str | None = key(
        None, "Service that does it, by its name in providers; unset: channels.transcriptionProvider, else the first with a key."
    )
    model: str | None = key(None, "Its model; unset: the usual one.")
    language: str | None = key(None, "Language that is spoken, as de or en; unset: channels.transcriptionLanguage, else any.")
    max_duration_sec: float = key(120.0, "Seconds of the longest message that is turned into text.", minimum=1, maximum=7200)
    max_upload_mb: float = key(25.0, "Megabytes of the largest.", minimum=0.01, maximum=100)


@attrs.frozen
class ChannelsConfig:
    send_progress: bool = key(True, "Send what the model says between its steps.")
    send_tool_hints: bool = key(False, "Send a line for each tool that is used.")
    transcription_provider: str | None = key(None, "Older name of transcription.provider.")
    transcription_language: str | None = key(None, "Older name of transcription.language.")
    web: WebConfig = key(WebConfig(), "The page's chat.")
    telegram: TelegramConfig = key(TelegramConfig(), "Telegram: nanobot guide telegram.")
    email: EmailConfig = key(EmailConfig(), "E-mail: nanobot guide email.")
    whatsapp: WhatsAppConfig = key(WhatsAppConfig(), "WhatsApp: nanobot guide whatsapp.")


@attrs.frozen
class RestartConfig:
    """How a channel that failed is started again."""

    first_s: float = key(
        1.0, "Seconds before the first restart; each further one waits twice as long.", minimum=0.05, maximum=3600
    )
    longest_s: float = key(60.0, "Most seconds before a restart.", minimum=0.05, maximum=86400)
    park_after: int = key(10, "Failures in a row after which it is parked.", minimum=1, maximum=1000)
    healthy_s: float = key(300.0, "Seconds of health after which failures are forgotten.", minimum=0.1, maximum=86400)
    slow_retry_s: float = key(900.0, "Seconds between attempts while parked for a passing cause.", minimum=0.1, maximum=86400)


CatchUp = Literal["skip", "once", "all"]


@attrs.frozen
class CronConfig:
    """Scheduled work; a job's own keys count before these."""

    catch_up: CatchUp = key("once", "Runs that were missed: skip them, make up for one, or for all.")
    horizon_s: float = key(86400.0, "Seconds after which a missed run is not made up for.", minimum=0, maximum=31536000)
    busy_s: float = key(3600.0, "Seconds that a run waits for its chat to be free; then it is skipped.", minimum=1, maximum=86400)
    deadline_s: float = key(1800.0, "Seconds for one run.", minimum=1, maximum=86400)
    tokens: int = key(500_000, "Most tokens that one run may read and write; 0: any number.", minimum=0)
    parallel: int = key(32, "Runs that are begun at the same time.", minimum=1, maximum=1000)
    most_jobs: int = key(10_000, "Most jobs there may be.", minimum=1, maximum=1_000_000)


@attrs.frozen
class HeartbeatConfig:
    """A regular look at HEARTBEAT.md of the workspace."""

    enabled: bool = key(True, "Look at all.")
    interval_s: float = key(1800.0, "Seconds between two looks.", minimum=1, maximum=2592000)
    daily_tokens: int = key(100_000, "Most tokens of a day for it.", minimum=0)
    quiet: str = key("", "Hours in which it is silent, such as 22:00-07:00.")
    chat: str | None = key(None, "Session that is told what it has found; unset: gateway.notify, else the owner's last chat.")


@attrs.frozen
class GatewayConfig:
    owners: tuple[str, ...] = key((), "Principals that own this assistant: channel:user or channel:account:chat:user.")
    notify: str | None = key(None, "Session that is told what the owner should know; unset: the owner's last chat.")
    host: str = key("127.0.0.1", "Address that the page and the health check listen on.")
    port: int = key(18790, "Port of the page and the health check; 0: any free one.", minimum=0, maximum=65535)
    http: bool = key(True, "Listen on host and port at all.")
    token: Secret = key(Secret(), "Token of the page; unset: one is made and kept in the data directory.")
    allowed_hosts: tuple[str, ...] = key(("localhost", "127.0.0.1", "::1"), "Names by which the page may be reached.")
    drain_s: float = key(10.0, "Seconds for turns to end when the gateway stops.", minimum=0, maximum=600)
    on_parked: OnParked = key("keep", "When a channel is parked: keep running, or exit with code 3.")
    restarts: RestartConfig = key(RestartConfig(), "How channels are started again.")
    cron: CronConfig = key(CronConfig(), "Scheduled work: nanobot guide cron.")
    heartbeat: HeartbeatConfig = key(HeartbeatConfig(), "A regular look at HEARTBEAT.md.")


@attrs.frozen
class MemoryConfig:
    """How conversations become memory: nanobot guide memory."""

    consolidate: bool = key(True, "Turn what leaves a conversation into memory.")
    model: str | None = key(None, "Model that does it; unset: the conversation's.")
    window_share: float = key(
        0.5,
        "Part of the model's window that history may fill before the older half of it goes to memory.",
        minimum=0.05,
        maximum=0.9,
    )
    idle_s: float = key(
        3600.0, "Seconds without a word after which a long conversation goes to memory; 0: never.", minimum=0, maximum=2592000
    )
    most_dropped: float = key(
        0.2,
        "Share of the facts in memory that one update may drop; one that drops more becomes a proposal.",
        minimum=0,
        maximum=1,
    )
    per_user: bool = key(False, "Keep a memory file for each person beside the common one.")


@attrs.frozen
class PriceConfig:
    """Of a model, for a million tokens."""

    input: float = key(0.0, "Tokens that are read.", minimum=0)
    output: float = key(0.0, "Tokens that are written.", minimum=0)
    cached: float | None = key(None, "Tokens that are read from the service's cache; unset: as the others.", minimum=0)


CapOf = Literal["background", "principal", "everything"]


@attrs.frozen
class CapConfig:
    """A limit of what may be used up. Of several, each counts."""

    of: CapOf = key("background", "What is counted: background (jobs, heartbeat), principal (each person alone), everything.")
    who: str = key("*", "Of principals, those that are meant: channel:account:chat:user; * stands for any letters.")
    per: Literal["day", "month"] = key("day", "After which time counting begins anew.")
    tokens: int | None = key(None, "Most tokens, read and written.", minimum=0)
    money: float | None = key(None, "Most money, by usage.prices.", minimum=0)
    action: Literal["warn", "stop"] = key("warn", "Tell the owner, or also begin no further turn.")


@attrs.frozen
class UsageConfig:
    prices: Mapping[str, PriceConfig] = key({}, "Prices, by the model's name.")
    currency: str = key("USD", "Of the prices.")
    caps: tuple[CapConfig, ...] = key((), "Limits of what may be used up.")


@attrs.frozen
class RetentionConfig:
    tool_results_days: float = key(30.0, "Days that full tool results are kept.", minimum=0)
    tool_results_mb: float = key(500.0, "Megabytes of full tool results that are kept.", minimum=1)
    media_days: float = key(90.0, "Days that files which came with messages are kept.", minimum=0)
    media_mb: float = key(2000.0, "Megabytes of files which came with messages that are kept.", minimum=1)
    usage_days: float = key(800.0, "Days that what model calls used up is kept.", minimum=62)


@attrs.frozen
class Config:
    """The root of the tree."""

    config_version: int | None = key(None, "Format of this file: 1; files of HKUDS/nanobot have none.", minimum=1)
    agents: AgentsConfig = key(AgentsConfig(), "The assistant and its models.")
    providers: Mapping[str, ProviderConfig] = key({}, "Model services, by name.")
    tools: ToolsConfig = key(ToolsConfig(), "What the assistant can do.")
    channels: ChannelsConfig = key(ChannelsConfig(), "The chat networks.")
    transcription: TranscriptionConfig = key(TranscriptionConfig(), "Voice messages as text: nanobot guide channels.")
    gateway: GatewayConfig = key(GatewayConfig(), "The daemon.")
    memory: MemoryConfig = key(MemoryConfig(), "Memory.")
    usage: UsageConfig = key(UsageConfig(), "What model calls cost.")
    retention: RetentionConfig = key(RetentionConfig(), "How long things are kept.")
