import pytest

from nanobot.config.codec import unstructure
from nanobot.config.schema import Config, ProviderConfig, Secret
from nanobot.config.tree import camel, dotted, elsewhere, loose, nearest

CONFIG = Config(providers={"openai": ProviderConfig(api_key=Secret("key"), extra_headers={"X-Token": "tok-en"})})


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("agents", "defaults", "maxTokens"), "agents.defaults.maxTokens"),
        (("agents", "models", "gpt-4.1", "maxTokens"), 'agents.models["gpt-4.1"].maxTokens'),
        (("gateway", "owners", 0), "gateway.owners[0]"),
        (("providers", "my-own_one"), "providers.my-own_one"),
    ],
)
def test_a_path_is_written_as_people_write_it(path: tuple[str | int, ...], text: str) -> None:
    assert dotted(path) == text


def test_names() -> None:
    assert (camel("max_tool_result_chars"), camel("maxTokens"), camel("mb")) == ("maxToolResultChars", "maxTokens", "mb")
    assert loose("openaiCodex") == loose("openai-codex") == loose("OPENAI_CODEX")


def test_what_may_have_been_meant() -> None:
    assert nearest("Modle", ["model", "provider"]) == "model"
    assert nearest("xyzzy", ["model", "provider"]) is None
    assert elsewhere("maxToolIterations") == "agents.defaults.maxToolIterations"
    assert elsewhere("enable") is None  # of exec or of file?


def test_masked_and_in_clear() -> None:
    assert unstructure(CONFIG) == {"providers": {"openai": {"apiKey": "key", "extraHeaders": {"X-Token": "tok-en"}}}}
    assert unstructure(CONFIG, masked=True) == {"providers": {"openai": {"apiKey": "***", "extraHeaders": {"X-Token": "***"}}}}
    assert "tok-en" not in repr(CONFIG)
