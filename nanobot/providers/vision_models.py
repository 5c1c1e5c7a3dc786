"""Which models see pictures, and how many of them their services take. Pure tables.

What is not known is tried: a service that refuses a picture is asked again without it (vision.py). Only Ollama, which fails in
other ways, is taken not to see with what is not known. `agents.models.NAME.vision` is believed before the table.
"""

from __future__ import annotations

import re

import attrs

from nanobot.providers.models import bare

MODELS: tuple[tuple[str, bool], ...] = (
    (r"demo$", False),
    (r"claude-(2|instant)", False),
    (r"claude-", True),
    (r"gpt-3\.5|gpt-4($|-0|-32k|-1106)|gpt-oss|o1-(mini|preview)|o3-mini", False),
    (r"gpt-|chatgpt-|o[134](-|$)", True),
    (r"gemma-?3[-:](1b|270m)", False),
    (r"gemini-|gemma-?[34]", True),
    (r"gemma", False),
    (r"deepseek-(vl|ocr)", True),
    (r"deepseek", False),
    (r"glm-[\d.]+v(-|:|$)", True),
    (r"(chat)?glm", False),
    (r"kimi-(k2\.[5-9]|k[3-9]|latest|thinking-preview)|moonshot-.*vision", True),
    (r"kimi|moonshot", False),
    (r"qwen.*(vl|omni)|qvq|qwen-?3\.[5-9]", True),
    (r"qwen(-?[123])?(-|:|\.|$)|qwq|qwen3", False),
    (r"minimax-vl", True),
    (r"minimax-(text|m1|m2(-|$))", False),
    (r"pixtral", True),
    (r"mistral-(large-24|(medium|small)-(23|24|2501))|codestral|open-m|mistral-(nemo|tiny|7b)|mixtral", False),
    (r"mistral-(large|medium|small)", True),
    (r"(meta-)?llama-?(3\.2.*(11b|90b|vision)|4)|llava|bakllava|moondream|minicpm-v|granite.*vision", True),
    (r"(meta-)?llama|codellama|granite|starcoder|tinyllama", False),
    (r"grok-(2-vision|4($|-)|5)", True),
    (r"grok-(code|beta|[23]($|-))", False),
    (r"phi-?[34].*(vision|multimodal)", True),
    (r"phi", False),
    (r".*(vision|[-:_]vl\b)", True),
)
"""The beginning of a model's name (without vendor, lower case), and whether it sees; the first that fits counts, so that the
special stand before the general. What differs within a family, or is not known, is left out."""

BLIND_UNLESS_KNOWN = frozenset(["ollama"])
"""Services that fail for good, or not at all, when a model is sent what it cannot see."""


@attrs.frozen
class Caps:
    """What a prompt may hold."""

    pictures: int = 20
    """With more, Anthropic takes only pictures of 2,000 pixels a side."""
    room: int = 16_000_000
    """Bytes of all of them; a request of Anthropic's may have 32 MB, in base64 and with everything else."""


CAPS = {"groq": Caps(5, 2_500_000), "mistral": Caps(8)}
"""Of services that take less, as their documentation says: Groq's requests with pictures may have 4 MB."""


@attrs.frozen
class Sight:
    """What a model can be shown."""

    model: str
    """For sentences."""
    sees: bool = True
    caps: Caps = Caps()


def sight_of(service: str, model: str, asked: bool | None) -> Sight:
    """service: the row of the registry. asked: what the configuration says."""
    known = next((sees for pattern, sees in MODELS if re.match(pattern, bare(model))), None)
    guess = known if known is not None else service not in BLIND_UNLESS_KNOWN
    return Sight(model or "the model", guess if asked is None else asked, CAPS.get(service, Caps()))
