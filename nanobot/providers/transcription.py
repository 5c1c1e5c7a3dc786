"""Voice messages as text, by services that take a file at `audio/transcriptions`: OpenAI, and all that speak the same.

Key and address are those of the configured provider (registry.py), the connection is the one HTTP client of all model services.
Which service: the one that `transcription.provider` names, never another; where none is named, the first of `SERVICES` that has
a key. Caps on bytes and seconds come from the configuration, a few messages at a time are sent. The deadline is the caller's.

What was sent to a service and what it answered are written nowhere else, but for what it says is wrong, which stands in the
message, cut short and without our keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType

import attrs
import trio

from nanobot.config.schema import Config
from nanobot.errors import ConfigError, NanobotError
from nanobot.messages import Attachment
from nanobot.providers import faults, payload, registry
from nanobot.providers.client import SdkMissing, SharedHttp, load
from nanobot.providers.faults import Service
from nanobot.providers.port import ProviderError, TransportFailed
from nanobot.providers.registry import Selection
from nanobot.providers.transcription_sound import Sound, sound_of
from nanobot.wire import Json

SERVICES: Mapping[str, str] = {
    "groq": "whisper-large-v3",
    "openai": "gpt-4o-mini-transcribe",
    "mistral": "voxtral-mini-latest",
    "siliconflow": "FunAudioLLM/SenseVoiceSmall",
}
"""Providers that are asked, the first that has a key, and their usual model. Others work by `transcription.provider`, if
`transcription.model` says what to ask them for: a server of one's own, such as vLLM or speaches, too."""
AT_ONCE = 4
"""Messages that are under way; each is in memory, and services count requests a minute."""
AGAIN_S = 1.0
"""Before the second and last attempt, or what the service asks for."""
LONGEST_WAIT_S = 5.0
"""A service that asks for more is not asked again: the message waits meanwhile."""
MOST_CHARS = 20_000
"""Of an answer: an hour of speech has some 50,000, the two minutes of the usual limit 2,500."""


class NotTranscribed(NanobotError):
    """Why there are no words, half a sentence for the text of the message."""


@attrs.define(eq=False)
class Transcriber:
    """See the module. One for all channels."""

    _config: Callable[[], Config]
    """As it is now."""
    _environ: Mapping[str, str]
    _http: SharedHttp
    _slots: trio.Semaphore = attrs.field(factory=partial(trio.Semaphore, AT_ONCE), init=False)

    async def words(self, file: Attachment) -> str | None:
        """What is said in a sound file, on one line; None where this is switched off. Raises: NotTranscribed."""
        config = self._config()
        if not config.transcription.enabled:
            return None
        selection = chosen(config, self._environ)
        most = int(config.transcription.max_upload_mb * 1e6)
        async with self._slots:
            data = await trio.to_thread.run_sync(_read, Path(file.path), most, abandon_on_cancel=True)
            sound = _checked(data, config.transcription.max_duration_sec)
            text = await self._twice(selection, sound, data, _language(config))
        if not text:
            raise NotTranscribed("no words are heard in it")
        return text

    async def _twice(self, selection: Selection, sound: Sound, data: bytes, language: str | None) -> str:
        """Once more where that may help. Raises: NotTranscribed."""
        ask = partial(self._ask, selection, sound, data, language)
        try:
            try:
                return await ask()
            except ProviderError as error:
                wait = max(AGAIN_S, error.retry_after or 0.0)
                if not error.retryable or wait > LONGEST_WAIT_S:
                    raise
                await trio.sleep(wait)
                return await ask()
        except (ProviderError, SdkMissing) as error:
            raise NotTranscribed(str(error)) from error

    async def _ask(self, selection: Selection, sound: Sound, data: bytes, language: str | None) -> str:
        """Raises: ProviderError, NotTranscribed, SdkMissing."""
        http, client = await load("httpx2"), await self._http.client()
        service = Service.of(selection, selection.model)
        fields = {"model": selection.model, "response_format": "json"} | ({"language": language} if language else {})
        key = selection.key.reveal()
        headers = ({"authorization": f"Bearer {key}"} if key else {}) | dict(selection.settings.extra_headers)
        with _translated(service, http):
            address = http.URL(selection.base)
            request = client.build_request(
                "POST",
                address.copy_with(path=f"{address.path.rstrip('/')}/audio/transcriptions"),
                data=fields,
                files={"file": (f"voice.{sound.suffix}", data, sound.mime)},
                headers=headers,
            )
            response = await client.send(request, stream=True)
            async with payload.closing(response):
                body = await payload.read_body(response.aiter_bytes(), lambda: None)
            if response.status_code == 413:
                raise NotTranscribed(f"it is too large for {service.who}")
            if not response.is_success:
                raise faults.error(service, faults.complaint(response.status_code, _json(body), response.headers))
            return _text_in(json.loads(body))


def chosen(config: Config, environ: Mapping[str, str]) -> Selection:
    """The service, with its key and address. Raises: NotTranscribed, saying what to set."""
    own = config.transcription
    named = own.provider or config.channels.transcription_provider
    if named:
        return _selected(config, environ, registry.normal(named), own.model)
    for service in SERVICES:
        try:
            return _selected(config, environ, service, own.model)
        except NotTranscribed:
            pass  # the next one
    keys = ", ".join(registry.BY_NAME[service].env[0] for service in SERVICES)
    raise NotTranscribed(f"there is no key for a service that does it: set one of {keys}, or transcription.provider")


def _selected(config: Config, environ: Mapping[str, str], service: str, model: str | None) -> Selection:
    """Raises: NotTranscribed."""
    model = model or SERVICES.get(service)
    defaults = attrs.evolve(config.agents.defaults, provider=service, model=model)
    try:
        found = registry.select(attrs.evolve(config, agents=attrs.evolve(config.agents, defaults=defaults)), environ)
    except ConfigError as error:
        raise NotTranscribed(f"{service} cannot be used for it: set providers.{service}.apiKey") from error
    if found.spec.wire is not registry.Wire.OPENAI or not found.base:
        raise NotTranscribed(f"{service} does not do it: set transcription.provider to one of {', '.join(SERVICES)}")
    if not model:
        raise NotTranscribed(f"it is not said which model of {service} does it: set transcription.model")
    return found


def _language(config: Config) -> str | None:
    return config.transcription.language or config.channels.transcription_language or None


def _checked(data: bytes, most_s: float) -> Sound:
    """Raises: NotTranscribed."""
    sound = sound_of(data)
    if sound is None:
        raise NotTranscribed("it is in no format that services take")
    if sound.seconds is not None and sound.seconds > most_s:
        raise NotTranscribed(f"it is longer than {most_s:g} seconds (transcription.maxDurationSec)")
    return sound


def _read(path: Path, most: int) -> bytes:
    """Raises: NotTranscribed."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise NotTranscribed(f"its file cannot be read: {error.strerror}") from error
    if len(data) > most:
        raise NotTranscribed(f"it is larger than {most / 1e6:g} MB (transcription.maxUploadMb)")
    return data


@contextmanager
def _translated(service: Service, http: ModuleType) -> Iterator[None]:
    """Raises: ProviderError."""
    try:
        yield
    except (http.HTTPError, http.StreamError) as exc:
        text = f"the connection to {service.who} failed: check the network, and the address in {service.address_hint}"
        raise TransportFailed(text) from exc
    except (ValueError, RecursionError, payload.BodyTooLong, http.InvalidURL) as exc:
        raise faults.no_answer(service) from exc


def _json(body: bytes) -> Json:
    """What an error says, nothing where it is no JSON."""
    try:
        said: Json = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said


def _text_in(answer: Json) -> str:
    """On one line, without signs that do not show. Raises: ValueError."""
    text = answer.get("text") if isinstance(answer, dict) else None
    if not isinstance(text, str):
        raise ValueError("no text")  # noqa: TRY004  # it is the service's mistake, as broken JSON is
    shown = " ".join("".join(sign if sign.isprintable() else " " for sign in text[: 2 * MOST_CHARS]).split())
    return shown if len(shown) <= MOST_CHARS else f"{shown[: MOST_CHARS - 1]}…"
