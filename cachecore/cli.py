"""The daemon: from the command line to serving, and to the exit status."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import process, systemd
from .errors import EXIT_FAILURE, EXIT_USAGE, NO_MEMORY, SettingsError, StartError
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

    0: a signal or a client ended it; 64: wrong usage; 67: unknown user; 71: the system refuses something; 1: the
    rest. With -d, the process that was called ends by SystemExit.
    """
    try:
        settings, action, remarks = parse_argv(sys.argv[1:] if argv is None else argv)
        if action is not None:
            return _tell(_TEXTS[action]())
        for remark in remarks:
            say(remark)
        inherited = [sock for _, sock in systemd.inherited_sockets()]
        with process.awaited_signals():
            tell_parent = None
            if settings.daemon:
                tell_parent = process.start_daemon(
                    keep_directory=settings.enable_coredumps, keep_output=settings.verbose > 0
                )
            _prepare(settings)
            _serve(Server(settings), inherited, tell_parent)
    except (SettingsError, StartError) as error:
        say(str(error))
        return error.exit_status
    return 0


def _tell(text: str) -> int:
    """Write to stdout what was asked for; the exit status. A reader who has seen enough (``| head``) is no error."""
    try:
        print(text, flush=True)
    except OSError as error:
        # What is left in the buffer goes here at the exit, where a second failure would make the status 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            say(f"cannot write: {error.strerror}")
            return EXIT_FAILURE
    return 0


def say(text: str) -> None:
    """Write a line to stderr, if there is one that takes it."""
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _prepare(settings: Settings) -> None:
    """Set the process's limits, then its user. Raises StartError."""
    if settings.threads > _MANY_THREADS:
        say(
            "WARNING: Setting a high number of worker threads is not recommended.\n"
            " Set this value to the number of cores in your machine or less."
        )
    if settings.enable_coredumps:
        process.raise_core_limit()
    process.raise_descriptor_limit(settings)
    if settings.lock_memory:
        process.allow_locked_memory()
    if settings.user is not None:
        preload()
        process.drop_privileges(settings.user)
    elif os.geteuid() == 0:
        say("cachecore is running as root; -u <user> makes it run as that user")


def _serve(server: Server, inherited: list[socket.socket], tell_parent: Callable[[], None] | None) -> None:
    """Serve until a signal or a client ends it. Raises StartError."""
    settings = server.settings
    if not (inherited or settings.unix_socket or settings.port):  # before it takes up the items of a memory_file
        raise StartError("nothing to listen on: -p 0, and neither -s nor sockets of systemd's", EXIT_USAGE)
    server.on_shutdown = process.end
    process.return_freed_memory()
    server.start(inherited)
    if inherited and (unused := _unused_addresses(settings)):
        say(f"the sockets of LISTEN_FDS are served instead of {unused}")
    received = signal.SIGTERM
    try:
        if server.restart_report:
            say(server.restart_report)
        if settings.lock_memory:
            _lock_memory()
        _write_files(server)
        _report(server, own=not inherited)  # last: who waits for this line finds the files
        if tell_parent is not None:
            tell_parent()
        received = _wait_for_end(server)
    finally:
        try:
            server.stop(save=received == signal.SIGUSR1)
        except OSError as error:
            raise StartError(f"[restart] failed to save {settings.memory_file}: {error.strerror}") from error
        finally:
            if settings.daemon and settings.pidfile:
                _remove_pid_file(settings.pidfile)


def _unused_addresses(settings: Settings) -> str:
    """The options that say where to listen, where they are not the defaults."""
    given = {"-p": settings.port != Settings().port, "-l": settings.listen, "-s": settings.unix_socket}
    return ", ".join(flag for flag, value in given.items() if value)


def _wait_for_end(server: Server) -> signal.Signals:
    """Wait for a signal that ends the daemon, and say so; at each SIGHUP, read its files again."""
    systemd.notify_ready()
    while (received := process.wait_for_signal()) == signal.SIGHUP:
        try:
            _reload(server)
        except NO_MEMORY:
            continue  # a line that says so needs some, too
    systemd.notify_stopping()
    if received == signal.SIGUSR1:
        say("Gracefully stopping")
    elif server.settings.verbose:
        say("Exiting normally")
    return received


def _reload(server: Server) -> None:
    systemd.notify_reloading()
    try:
        server.reload()
        if server.settings.auth_file is not None:
            say(f"read {server.settings.auth_file} again")
    except StartError as error:
        say(f"{error}; the users stay who they were")
    except NO_MEMORY:
        say("out of memory")
    systemd.notify_ready()


def _lock_memory() -> None:
    try:
        process.lock_memory()
    except (ImportError, OSError) as error:
        say(f"warning: -k invalid, mlockall() failed: {getattr(error, 'strerror', error)}")


def _report(server: Server, *, own: bool) -> None:
    """Say where the server listens; with -v how it is set up, with -vv each listener. ``own``: it chose where."""
    settings = server.settings
    places = " and ".join(map(show_address, server.addresses))
    loopback = own and not (settings.listen or settings.unix_socket) and server.addresses
    hint = " (this machine only; -l 0.0.0.0, -l :: or -l '*' opens it)" if loopback else ""
    if any(place[0] in ("0.0.0.0", "::") for place in server.addresses):
        who = "can use it, there is no authentication" if settings.auth_file is None else "can try a password"
        hint = f" (every interface: whoever reaches the port {who})"
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
            say(f"Could not write the pid file {pid_file}: {error.strerror}")


def _remove_pid_file(path: str) -> None:
    try:
        Path(path).unlink()
    except OSError as error:
        say(f"Could not remove the pid file {path}: {error.strerror}")
