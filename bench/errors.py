"""How the bench's commands end when something is wrong: with one line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable


class BenchError(RuntimeError):
    """A run that cannot go on: a server that does not start, an option that makes no sense."""


class MissingTool(BenchError):  # noqa: N818 - it is no fault
    """A part that this machine cannot run: a program or a library is not installed."""


def run_command(run: Callable[[list[str]], None]) -> None:
    """Run a command with the process's words; SIGTERM and Ctrl-C, too, let it stop its servers on the way out."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: terminated"))
    try:
        run(sys.argv[1:])
    except BenchError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit("bench: interrupted")
