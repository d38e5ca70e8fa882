"""What goes wrong before a server serves, with the exit status that memcached ends with in that case; no memory."""

from __future__ import annotations

import os
from typing import Final

EXIT_FAILURE: Final = 1
EXIT_USAGE: Final = os.EX_USAGE  # 64
EXIT_NO_USER: Final = os.EX_NOUSER  # 67
EXIT_OS_ERROR: Final = os.EX_OSERR  # 71

#: How it shows that Python has no memory left. It says SystemError where it forgets to say why it failed.
NO_MEMORY: Final = (MemoryError, SystemError)


class SettingsError(ValueError):
    """An option is unknown, out of its range, or at odds with another one.

    ``str(error)`` is the message for the user; ``exit_status`` is what the daemon ends with (1 or 64).
    """

    def __init__(self, message: str, exit_status: int = EXIT_USAGE) -> None:
        super().__init__(message)
        self.exit_status: Final = exit_status


class StartError(RuntimeError):
    """The settings are fine, but the system refuses: an address, a user, a limit, memory.

    ``str(error)`` is the message for the user; ``exit_status`` is what the daemon ends with (1, 67 or 71).
    ``__cause__`` is the system's own error where there is one.
    """

    def __init__(self, message: str, exit_status: int = EXIT_OS_ERROR) -> None:
        super().__init__(message)
        self.exit_status: Final = exit_status
