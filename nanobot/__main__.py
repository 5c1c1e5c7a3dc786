"""The entry point. What people ask first (nothing, `--help`, `--version`) is answered without importing anything.

The text of the help is stored beside the command line (`cli/help.txt`, written by `python -m nanobot.cli.helptext`), because
building it costs more than ten times as long as showing it. Everything else goes to `nanobot.cli.app`.
"""

import gc
import sys

from nanobot import __version__

COLLECT_AFTER = 50_000
"""Objects. Imports make much that stays, and looking through it again and again takes a tenth of the start."""


def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        print(f"nanobot {__version__}")
        return 0
    if arguments in ([], ["--help"], ["-h"]):
        with open(__file__.replace("__main__.py", "cli/help.txt"), encoding="utf-8") as text:
            print(text.read(), end="")
        return 0

    if "--health" in arguments:
        from nanobot.cli.health import quick  # noqa: PLC0415

        code = quick(arguments)
        if code is not None:
            return code

    gc.set_threshold(COLLECT_AFTER)
    from nanobot.cli.app import run_cli  # noqa: PLC0415 -- what this module is there to put off

    return run_cli(arguments)


if __name__ == "__main__":
    sys.exit(main())
