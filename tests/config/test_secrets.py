"""What of a configuration and an environment is a secret, and what is not."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from nanobot.config import redaction
from nanobot.config.redaction import clean
from nanobot.config.schema import Config, GatewayConfig, ProviderConfig, Secret, ToolsConfig, WebToolsConfig
from nanobot.config.secrets import protect, secrets_in, secrets_of


def provider(**settings: object) -> Config:
    return Config(providers={"mine": ProviderConfig(**settings)})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (Config(), set()),
        (provider(api_key=Secret("hunter22")), {"hunter22"}),
        (provider(api_key=Secret("Bearer hunter22")), {"Bearer hunter22", "hunter22"}),
        (provider(api_base="https://me:hunt%2022@host/v1"), {"hunt%2022", "hunt 22"}),
        (provider(api_base="https://host:8080/v1"), set()),
        (provider(extra_headers={"X-Token": "hunter22"}), {"hunter22"}),
        (provider(extra_headers={"Authorization": "Basic aGk6aHVudGVy"}), {"Basic aGk6aHVudGVy", "aGk6aHVudGVy"}),
        (provider(extra_headers={"X-Title": "nanobot", "HTTP-Referer": "https://me.example"}), set()),
        (
            provider(extra_body={"user": "me", "a": {"api_key": "hunter22"}, "tokens": ["a-b"], "token": "c-d"}),
            {"hunter22", "a-b", "c-d"},
        ),
        (Config(gateway=GatewayConfig(token=Secret("hunter22"))), {"hunter22"}),
        (
            Config(tools=ToolsConfig(web=WebToolsConfig(proxy=Secret("socks5://me:hunter22@proxy:1080")))),
            {"socks5://me:hunter22@proxy:1080", "hunter22"},
        ),
    ],
)
def test_of_a_configuration(config: Config, found: set[str]) -> None:
    assert set(secrets_of(config)) == found


@pytest.mark.parametrize(
    "name", ["OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "GH_TOKEN", "SMTP_PASSWORD", "SENTRY_DSN", "PASSWORD", "MYKEY_KEY"]
)
def test_of_an_environment(name: str) -> None:
    assert list(secrets_in({name: "hunter22"})) == ["hunter22"]


def test_a_proxy_of_the_environment() -> None:
    assert set(secrets_in({"HTTPS_PROXY": "http://me:hunter22@proxy:3128"})) == {"hunter22"}


@pytest.mark.parametrize(
    "environ",
    [
        {"HOME": "/root", "PATH": "/bin:/usr/bin", "LANG": "C.UTF-8", "TERM": "xterm-256color"},
        {"SSH_AUTH_SOCK": "/tmp/agent.1", "SSH_KEY": "/home/me/.ssh/id", "CI_TOKEN": "disabled", "MAX_TOKENS": "8192"},
        {"KEYBOARD": "pc105-us", "MONKEY": "Capuchin-1", "TOKENIZERS_PARALLELISM": "false"},
    ],
)
def test_innocent_variables(environ: Mapping[str, str]) -> None:
    assert list(secrets_in(environ)) == []


def test_protected_in_every_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_registered", ())
    protect(provider(api_key=Secret("hun/ter 22")), {"MY_TOKEN": 'quo"te\\d'})
    assert clean("hun/ter 22, hun%2Fter%2022, hun%2Fter+22") == "***, ***, ***"
    assert clean('{"x": "quo\\"te\\\\d"}') == '{"x": "***"}'
