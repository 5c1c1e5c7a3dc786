"""The one door to python-telegram-bot: loaded when the channel is, and on the HTTP stack that the rest of us uses.

The SDK imports `httpx`; the alias makes that `httpx2`, so that there is one stack in the process and not two. Import of ours
that need the SDK's names go through here: the alias must come first.
"""

from __future__ import annotations

import httpx2

httpx2.alias_httpx()

import telegram  # noqa: E402  # see above
from telegram import error as errors  # noqa: E402
from telegram.request import BaseRequest, RequestData  # noqa: E402

__all__ = ["BaseRequest", "RequestData", "errors", "httpx2", "telegram"]
