"""Sockets that come with the process, and a manager to tell: where there is none, and where it is not meant."""

from __future__ import annotations

import os
import socket

import pytest

from cachecore import StartError, systemd


@pytest.fixture
def first(monkeypatch) -> socket.socket:
    """A listening socket, whose descriptor is the first that would be handed over."""
    listener = socket.create_server(("127.0.0.1", 0))
    copy = os.dup(listener.fileno())
    os.set_inheritable(copy, True)
    monkeypatch.setattr(systemd, "_FIRST_FD", copy)
    yield listener
    listener.close()


def hand_over(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_a_socket_is_taken_once(monkeypatch, first):
    hand_over(monkeypatch, LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="cache")
    ((name, sock),) = systemd.inherited_sockets()
    with sock:
        assert (name, sock.getsockname()) == ("cache", first.getsockname())
        assert not sock.get_inheritable()
    assert systemd.inherited_sockets() == []
    assert not {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} & os.environ.keys()


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "x", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "0", "LISTEN_PID": str(os.getpid())},
    ],
)
def test_sockets_of_another_process_are_left_alone(monkeypatch, values):
    hand_over(monkeypatch, **values)
    assert systemd.inherited_sockets() == []


def test_a_descriptor_that_is_not_there(monkeypatch, first):
    hand_over(monkeypatch, LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
    os.close(systemd._FIRST_FD)
    with pytest.raises(StartError, match="cannot listen on a socket of LISTEN_FDS: Bad file descriptor") as caught:
        systemd.inherited_sockets()
    assert caught.value.exit_status == 71


@pytest.mark.parametrize("place", [None, "", "relative", "vsock:1:2", "/no/where", "@nobody-there"])
def test_nobody_to_tell(monkeypatch, place):
    if place is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", place)
    systemd.notify_ready()
