"""One worker of this server, made to be run under callgrind by benchmarks/instructions.py, and under cProfile by
benchmarks/profiling.py.

    python -m benchmarks.instructed_worker CONFIG CONTROL

It is the worker of the real server with everything on, in this process instead of a forked one. CONTROL is the
descriptor of a socket: `ready` is written to it first, and for every byte that comes it calls getpgid, which callgrind
is told to take as the beginning of a new count, and answers with the same byte. It ends with the socket.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from pathlib import Path

import trio

from securelight.config.load import load
from securelight.features import FEATURES
from securelight.protocol.engine import choose
from securelight.server import channel, event_log
from securelight.server.preparation import prepare
from securelight.server.sockets import BoundSockets
from securelight.server.worker import Worker, WorkerTask


async def follow(control: socket.socket, supervisor_end: socket.socket) -> None:
    """Mark whenever it is asked for."""
    while True:
        await trio.lowlevel.wait_readable(control)
        wish = control.recv(1)
        if not wish:
            channel.send(supervisor_end, "drain")
            return
        os.getpgid(0)
        control.send(wish)


async def serve(task: WorkerTask, control: socket.socket, supervisor_end: socket.socket) -> None:
    """Until the other end of `control` is closed."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, control, supervisor_end)
        await Worker(task).run()
        nursery.cancel_scope.cancel()


def main() -> None:
    """See the module."""
    control = socket.socket(fileno=int(sys.argv[2]))
    config = load(Path(sys.argv[1]), FEATURES)
    event_log.configure(config.server.event_log)
    generation = prepare(config, FEATURES, BoundSockets({}))
    ours, theirs = channel.make_pair()
    engines = choose(config.server.engine)
    task = WorkerTask(
        config, FEATURES, engines, generation.listens, generation.identities, generation.logs, theirs, number=1
    )
    gc.collect()
    gc.freeze()  # as before the fork
    channel.send(ours, "serve")
    control.send(b"ready")
    trio.run(serve, task, control, ours)


if __name__ == "__main__":
    main()
