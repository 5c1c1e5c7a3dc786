"""`nanobot completion SHELL`: the completion script for a shell, on stdout.

Imports every command, because the script knows their options.
"""

from __future__ import annotations

from typing import Literal

from nanobot.cli.app import build
from nanobot.cli.terminal import say


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print the completion script for a shell.

    bash: nanobot completion bash > ~/.local/share/bash-completion/completions/nanobot
    zsh: nanobot completion zsh > a file called _nanobot in a folder of $fpath
    fish: nanobot completion fish > ~/.config/fish/completions/nanobot.fish

    Parameters
    ----------
    shell
        The shell that will read the script.
    """
    say(build().generate_completion(shell=shell).rstrip("\n"))
