"""``python -m bench.null``: the server that does no work, for one workload."""

from __future__ import annotations

import argparse
import itertools
import socket
import threading
from pathlib import Path

from bench import build, wire


def serve(listener: socket.socket, plan: wire.Wire, threads: int) -> None:
    """Accept for ever and deal the connections to ``threads`` workers in turn."""
    from bench.nullserver import NullServer, NullWorker

    server = NullServer(plan)
    workers = [NullWorker(server) for _ in range(threads)]
    for worker in workers:
        threading.Thread(target=worker.run, daemon=True).start()
    for worker in itertools.cycle(workers):
        client, _ = listener.accept()
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setblocking(False)
        worker.add(client.detach())


def listen(port: int, path: str | None) -> socket.socket:
    """A listening socket on 127.0.0.1, or on a unix socket ``path``."""
    if path is None:
        return socket.create_server(("127.0.0.1", port), backlog=1024)
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(1024)
    return listener


def main() -> None:
    """Parse the command line and serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m bench.null", description=__doc__)
    parser.add_argument("-p", "--port", type=int, default=0, help="TCP port on 127.0.0.1")
    parser.add_argument("-s", "--unix-socket", help="listen on this path instead")
    parser.add_argument("-t", "--threads", type=int, default=1)
    parser.add_argument("--kind", choices=wire.KINDS, default="get")
    parser.add_argument("--value", type=int, default=32, help="bytes")
    parser.add_argument("--keys-per-request", type=int, default=1)
    options = parser.parse_args()
    build.ensure()
    plan = wire.make(options.kind, options.value, options.keys_per_request)
    serve(listen(options.port, options.unix_socket), plan, options.threads)


if __name__ == "__main__":
    main()
