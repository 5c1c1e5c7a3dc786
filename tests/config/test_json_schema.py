from collections.abc import Iterator

from nanobot.config.codec import unstructure
from nanobot.config.json_schema import document
from nanobot.config.schema import Config
from nanobot.config.tree import Section, keys_of
from nanobot.wire import Json, JsonObject


def properties(schema: Json) -> JsonObject:
    assert isinstance(schema, dict)
    found = schema["properties"]
    assert isinstance(found, dict)
    return found


def objects(schema: Json) -> Iterator[JsonObject]:
    """Every object with fixed keys in the schema."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for below in schema.values():
            yield from objects(below)


def names(cls: type) -> list[str]:
    return [key.name for key in keys_of(cls)]


def test_it_has_every_key_and_no_other() -> None:
    schema = document()
    assert list(properties(schema)) == [*names(Config), "$schema"]
    for key in keys_of(Config):
        if isinstance(key.shape, Section):
            assert list(properties(properties(schema)[key.name])) == names(key.shape.cls)
    assert all(below["additionalProperties"] is False for below in objects(schema))


def test_every_key_says_what_it_is_for() -> None:
    for below in objects(document()):
        for name, schema in properties(below).items():
            assert isinstance(schema, dict)
            assert schema["description"], name


def test_ranges_choices_and_defaults() -> None:
    defaults = properties(properties(properties(document())["agents"])["defaults"])
    assert defaults["maxTokens"] == {
        "description": "Most tokens of one answer.",
        "type": "integer",
        "minimum": 1,
        "default": 8192,
    }
    assert defaults["reasoningEffort"] == {
        "description": "How hard a reasoning model thinks.",
        "enum": ["none", "minimal", "low", "medium", "high", "xhigh", "max", "adaptive", None],
        "default": None,
    }
    providers = properties(document())["providers"]
    assert isinstance(providers, dict)
    assert properties(providers["additionalProperties"])["apiKey"] == {
        "description": "Key of the service.",
        "type": "string",
        "default": "",
    }


def test_it_names_the_keys_that_are_written() -> None:
    written = unstructure(Config(), all_keys=True)
    assert [*written, "$schema"] == list(properties(document()))
