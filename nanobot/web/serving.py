"""The page's server put together. Imported only where it is enabled: starlette and hypercorn come with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from nanobot.config.schema import GatewayConfig
from nanobot.supervise.status import Node
from nanobot.web import files
from nanobot.web.app import SessionLine, Talk, build
from nanobot.web.guard import Doorman
from nanobot.web.listener import serve as listen


async def serve(
    config: GatewayConfig,
    token: str,
    tree: Callable[[], Node],
    sessions: Callable[[], Awaitable[Sequence[SessionLine]]],
    talk: Talk,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; reports the bound port. Raises: CannotListen."""
    app = build(
        tree=tree,
        sessions=sessions,
        talk=talk,
        page=files.read(),
        doorman=Doorman(token),
        allowed_hosts=config.allowed_hosts,
    )
    await listen(app, config.host, config.port, task_status=task_status)
