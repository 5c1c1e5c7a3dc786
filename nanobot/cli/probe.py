"""The one check of `nanobot doctor` that uses the network: does the model service take the key? Asks for its list of models.

Nothing is sent but the key, to the address that a chat would use.
"""

from __future__ import annotations

from nanobot.cli.findings import Facts, Finding, Verdict
from nanobot.errors import ConfigError
from nanobot.providers.registry import Selection, select
from nanobot.providers.services import Wire

PATIENCE_S = 5.0


def online(facts: Facts) -> Finding:
    """What the chosen service says."""
    if facts.config is None:
        return Finding(Verdict.SKIPPED, "not asked, because the configuration cannot be loaded")
    try:
        chosen = select(facts.config, facts.environ)
    except ConfigError as exc:
        return Finding(Verdict.SKIPPED, f"not asked: {'; '.join(exc.mistakes)}")
    if chosen.spec.wire is Wire.DEMO:
        return Finding(Verdict.SKIPPED, "not asked: the demo is part of nanobot")
    return ask(chosen)


def ask(chosen: Selection) -> Finding:
    """One GET, followed by nothing."""
    import httpx2  # noqa: PLC0415  # 0.2 s, for those who ask

    base = f"{chosen.base.removesuffix('/v1')}/v1" if chosen.spec.wire is Wire.ANTHROPIC else chosen.base
    address = f"{base}/models"
    try:
        response = httpx2.get(address, headers=_headers(chosen), timeout=PATIENCE_S)
    except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
        why = f"{chosen.provider} cannot be reached at {address}: {str(exc) or type(exc).__name__}"
        return Finding(Verdict.BAD, f"{why}. Look at the network, or set providers.{chosen.provider}.apiBase")
    return _judged(chosen, response.status_code)


def _headers(chosen: Selection) -> dict[str, str]:
    key = chosen.key.reveal()
    if chosen.spec.wire is Wire.ANTHROPIC:
        return {"x-api-key": key, "anthropic-version": "2023-06-01"}
    return {"authorization": f"Bearer {key}"} if key else {}


def _judged(chosen: Selection, status: int) -> Finding:
    match status:
        case 200:
            return Finding(Verdict.OK, f"{chosen.provider} takes the key")
        case 401 | 403:
            text = f"{chosen.provider} refuses the key (HTTP {status}): set providers.{chosen.provider}.apiKey"
            return Finding(Verdict.BAD, text)
        case 404:
            return Finding(Verdict.OK, f"{chosen.provider} answers, and has no list of models")
        case _:
            text = f"{chosen.provider} answers with HTTP {status}, perhaps for a while; later again: nanobot doctor --online"
            return Finding(Verdict.WARN, text)
