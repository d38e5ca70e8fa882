"""The daemon: from the command line to serving, and to the exit status."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence

from . import process
from .errors import EXIT_FAILURE, SettingsError, StartError
from .listeners import show_address
from .server import Server, preload
from .settings import Settings
from .usage import Action, help_text, license_text, parse_argv, version_text

_TEXTS: dict[Action, Callable[[], str]] = {
    Action.HELP: help_text,
    Action.LICENSE: license_text,
    Action.VERSION: version_text,
}

_MANY_THREADS = 64


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon with these words (default: the process's own) and return its exit status.

    0: a signal ended it; 64: wrong usage; 67: unknown user; 71: the system refuses something; 1: the rest.
    """
    try:
        settings, action, ignored = parse_argv(sys.argv[1:] if argv is None else argv)
        if action is not None:
            return _tell(_TEXTS[action]())
        for word in ignored:
            say(f'ignored "{word}", which belongs to no option')
        with process.ending_signals():
            _serve(settings)
    except (SettingsError, StartError) as error:
        say(str(error))
        return error.exit_status
    return 0


def _tell(text: str) -> int:
    """Write to stdout what was asked for; the exit status. A reader who has seen enough (``| head``) is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        say(f"cannot write: {error.strerror}")
        return EXIT_FAILURE
    return 0


def say(text: str) -> None:
    """Write a line to stderr, if there is one that takes it."""
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _serve(settings: Settings) -> None:
    """Serve until a signal ends it. Raises StartError."""
    if settings.threads > _MANY_THREADS:
        say(
            "WARNING: Setting a high number of worker threads is not recommended.\n"
            " Set this value to the number of cores in your machine or less."
        )
    process.raise_descriptor_limit(settings)
    if settings.user is not None:
        preload()
        process.drop_privileges(settings.user)
    elif os.geteuid() == 0:
        say("running as root; -u <user> makes it run as that user")
    with Server(settings) as server:
        _write_files(server)
        _report(server)  # last: who waits for this line finds the files
        received = process.wait_for_end()
        if received == signal.SIGUSR1:
            say("Gracefully stopping")
        elif settings.verbose:
            say("Exiting normally")


def _report(server: Server) -> None:
    """Say where the server listens; with -v how it is set up, with -vv each listener."""
    settings = server.settings
    places = " and ".join(map(show_address, server.addresses)) or "no address: -p 0 and no -s"
    loopback = not (settings.listen or settings.unix_socket) and server.addresses
    hint = " (this machine only; -l 0.0.0.0, -l :: or -l '*' opens it)" if loopback else ""
    if any(place[0] in ("0.0.0.0", "::") for place in server.addresses):
        hint = " (every interface: whoever reaches the port can use it, there is no authentication)"
    say(f"cachecore is listening on {places}{hint}")
    if settings.verbose:
        say(
            f"memory {settings.memory_limit} MB, items up to {settings.max_item_size} bytes, "
            f"{settings.threads} threads, {settings.conn_limit} connections"
        )
    if settings.verbose > 1:
        for listener in server.listeners:
            place = show_address(listener.address)
            say(f"<{listener.socket.fileno()} server listening (auto-negotiate) on {place}")


def _write_files(server: Server) -> None:
    """Write the files that tell others the ports and the process id; without them memcached runs on, too."""
    port_file = os.environ.get("MEMCACHED_PORT_FILENAME")
    if port_file and server.settings.unix_socket is None:
        try:
            process.write_port_file(port_file, server.addresses)
        except OSError as error:
            say(f'Failed to open "{port_file}.lck": {error.strerror}')
    pid_file = server.settings.pidfile
    if pid_file:
        try:
            process.write_pid_file(pid_file)
        except OSError as error:
            say(f"Could not open the pid file {pid_file}.tmp for writing: {error.strerror}")
