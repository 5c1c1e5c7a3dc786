"""Any configuration that the schema allows, for Hypothesis."""

from __future__ import annotations

import attrs
from hypothesis import strategies as st

from nanobot.config.foreign import PROVIDERS
from nanobot.config.schema import CONFIG_VERSION, CapConfig, Config, ProviderConfig, Secret
from nanobot.config.tree import Anything, Choice, Key, Leaf, Section, Series, Shape, Table, keys_of

texts = st.text(max_size=12).filter(lambda text: "${" not in text)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


def sections(cls: type) -> st.SearchStrategy[object]:
    return st.builds(cls, **{key.attribute: _values(key) for key in keys_of(cls)})


def configs() -> st.SearchStrategy[Config]:
    return st.builds(lambda config: attrs.evolve(config, config_version=CONFIG_VERSION), sections(Config))


CHECKED = {
    "networks": st.just(("127.0.0.0/8",)),
    "ssrf_whitelist": st.lists(st.sampled_from(["10.0.0.0/8", "fd12::/16", "127.0.0.1"]), max_size=2).map(tuple),
    "timezone": st.sampled_from(["", "UTC", "Europe/Berlin"]),
    "quiet": st.sampled_from(["", "22:00-07:00"]),
    "caps": st.sampled_from([(), (CapConfig("everything", tokens=5), CapConfig("principal", "telegram:*", "month", 0))]),
    "proxy": st.sampled_from(["", "http://proxy:3128", "socks5://me:word@10.0.0.1"]).map(Secret),
}
"""Keys that not any text will do for (config/addresses.py, config/limits.py)."""


def _values(key: Key) -> st.SearchStrategy[object]:
    if key.attribute in CHECKED:
        return CHECKED[key.attribute]
    values = _shaped(key.shape, key.minimum, key.maximum)
    return st.none() | values if key.optional else values


def _shaped(shape: Shape, minimum: float | None = None, maximum: float | None = None) -> st.SearchStrategy[object]:
    match shape:
        case Leaf(kind) if kind is bool:
            return st.booleans()
        case Leaf(kind) if kind is int:
            return st.integers(None if minimum is None else int(minimum), None if maximum is None else int(maximum))
        case Leaf(kind) if kind is float:
            return st.floats(minimum, maximum, allow_nan=False, allow_infinity=False)
        case Leaf(kind):
            return texts.map(Secret) if kind is Secret else texts
        case Choice(options):
            return st.sampled_from(options)
        case Section(cls):
            return sections(cls)
        case Table(Section(cls)) if cls is ProviderConfig:  # a name of the user's own would need an address
            return st.dictionaries(st.sampled_from(PROVIDERS), sections(cls), max_size=2)
        case Table(item):
            return st.dictionaries(texts, _shaped(item), max_size=2)
        case Series(item):
            return st.lists(_shaped(item), max_size=2).map(tuple)
        case Anything():
            return json_values
