"""The owner's orders to the house, as slash commands (agent/questions.py): `/restart` and `/pairing`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from nanobot.agent.questions import Answer, Order
from nanobot.control.reload import Current
from nanobot.control.wish import Ending, Wish
from nanobot.journal.writers import Writers
from nanobot.messages import Principal
from nanobot.security.pairing import Pairing
from nanobot.security.pairing_order import PairingOrder

RESTARTING = "nanobot starts again. What is under way is put aside and goes on then."


@attrs.frozen
class Orders:
    """See the module."""

    _wish: Wish
    _pairing: Pairing
    _current: Current
    _writers: Writers
    _clock: Callable[[], float]

    def by_name(self) -> Mapping[str, Order]:
        return {
            "/restart": self._restart,
            "/pairing": PairingOrder(self._pairing, self._configured, self._writers.run, self._clock),
        }

    async def _restart(self, _rest: str, _who: Principal) -> Answer:
        return Answer(RESTARTING, lambda: self._wish.end(Ending.RESTART))

    def _configured(self) -> bool:
        return bool(self._current.config.gateway.owners)
