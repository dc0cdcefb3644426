"""One service process: private at once, public on SIGUSR1, drained on SIGTERM.

During a switch-over two processes listen on the public port. Linux spreads new connections over
them, and resets those that wait at a listener that closes; so the one that leaves first points new
connections at the other. `<process file>.lock`, locked while the process lives, tells that it does.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn

from mlrelease.errors import InputError, RefusedError
from mlrelease.files import open_lock
from mlrelease.output import begins, claim
from mlrelease.serving.protocol import Protocol

SO_ATTACH_REUSEPORT_CBPF = 51  # of Linux; Python has no name for it
IDLE_SECONDS, BUSY_SECONDS = 1.0, 10  # how long a drain waits for connections, for requests
KEEP_SECONDS = 75  # that an idle connection is kept: longer than balancers do, so they close it
HEAD_SECONDS = 20.0  # that a request's head may take to arrive, or an answer be stuck


def lock(process_file: Path) -> int:
    """Lock `x.lock` beside `x.json` until this process ends, however it ends. A file of its own,
    so that the process file can be replaced atomically. Returns the descriptor to keep open.

    Raises:
        RefusedError: A living process has it, or it is another file of somebody.
    """
    claim(process_file, begins('{\n "digest":'))
    process_file.parent.mkdir(parents=True, exist_ok=True)
    path = process_file.with_suffix(".lock")
    for _ in range(25):  # whoever looks whether the process lives takes it too, for a moment
        file = open_lock(path)
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file), path.stat()):  # nobody tidied it away meanwhile
                process_file.unlink(missing_ok=True)  # of a dead process
                return file
        os.close(file)
        time.sleep(0.02)
    raise RefusedError(f"{process_file}: belongs to a living process; stop that one first")


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket, on a port that only `shared` ones may share.

    Raises:
        InputError: The address is none of this machine, or another program has the port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048, reuse_port=shared)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise InputError(f"cannot listen on {host}:{port}: {reason}") from None


class Server(uvicorn.Server):
    """uvicorn, with a listener that comes later and a drain that loses no request.

    `started` is called once the first socket is served; `public` makes the other one; `listening`
    is kept up to date for whoever shows it.
    """

    def __init__(
        self,
        app: Any,
        listening: dict[str, Any],
        started: Callable[[], None],
        public: Callable[[], socket.socket] | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            interface="asgi3",
            http=Protocol,
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            proxy_headers=False,  # nobody asks for a caller's address
            server_header=False,
            timeout_keep_alive=KEEP_SECONDS,
            timeout_graceful_shutdown=BUSY_SECONDS,
        )
        super().__init__(config)
        self.listening, self.notify_started, self.make_public = listening, started, public
        self.public: socket.socket | None = None
        self.public_wanted = False
        self.silent: dict[Any, float] = {}  # connections that owe a request's head, since when

    def open_public(self, *_: object) -> None:
        """Listen on the public port from the next tick on; a handler of signals."""
        self.listening["error"] = None
        self.public_wanted = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.notify_started()

    async def on_tick(self, counter: int) -> bool:
        wanted, self.public_wanted = self.public_wanted, False
        if wanted and self.make_public and not self.public:
            try:
                self.public = self.make_public()
            except InputError as error:  # it serves on in private; another signal tries again
                self.listening["error"] = str(error)
            else:
                private = self.servers
                await super().startup([self.public])  # without a lifespan this adds a listener
                self.servers = [*private, *self.servers]
                self.listening["public"] = self.public.getsockname()[1]
        if counter % 10 == 0:
            self._close_silent()
            self._end_stuck(HEAD_SECONDS)
        return await super().on_tick(counter)

    def _close_silent(self) -> None:
        """Close connections whose request does not come: once a second, instead of a timer each.
        uvicorn itself looks after those that have had an answer and say nothing."""
        now, before = time.monotonic(), self.silent
        self.silent = {}
        for connection in self.server_state.connections:
            cycle = getattr(connection, "cycle", None)
            idle = getattr(connection, "timeout_keep_alive_task", None) is not None
            if not idle and (cycle is None or cycle.response_complete):
                since = self.silent[connection] = before.get(connection, now)
                if now - since > HEAD_SECONDS:
                    connection.transport.close()

    def _end_stuck(self, looks: float) -> None:
        """End connections whose caller reads nothing: to close them is to wait for the caller."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, Protocol) and connection.look() >= looks:
                connection.transport.abort()

    async def _end_stuck_while_draining(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._end_stuck(BUSY_SECONDS / 2)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.public:
            with contextlib.suppress(OSError):  # not Linux: what waits at this port may be reset
                await self._hand_over(self.public)
        for server in self.servers:
            server.close()
        # uvicorn would close idle connections now, under requests that are on their way.
        self.server_state.default_headers.append((b"connection", b"close"))
        ending = asyncio.create_task(self._end_stuck_while_draining())
        end = time.monotonic() + IDLE_SECONDS
        while self.server_state.connections and time.monotonic() < end and not self.force_exit:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)
        ending.cancel()

    async def _hand_over(self, sock: socket.socket) -> None:
        """Send new connections to another listener of the port, where there is one.

        The port's program of one instruction, `return place`, chooses the listener. A place that
        does not lead here leads to another process; one that does not exist, to any of them.
        """
        for place in (1, 0):
            code = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, place))
            program = struct.pack("@HP", 1, ctypes.addressof(code))
            sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)
            if not await self._leads_here(sock):
                break
        await asyncio.sleep(0.05)  # for handshakes that had begun

    async def _leads_here(self, sock: socket.socket) -> bool:
        loop, connections = asyncio.get_running_loop(), self.server_state.connections
        with socket.socket(sock.family) as probe:
            probe.setblocking(False)
            await asyncio.wait_for(loop.sock_connect(probe, sock.getsockname()), timeout=1)
            for _ in range(10):
                await asyncio.sleep(0.005)
                if probe.getsockname() in [getattr(c, "client", None) for c in connections]:
                    return True
        return False

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's own would end a drained process by the signal instead of with 0."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.handle_exit)
            signal.signal(signal.SIGINT, self.handle_exit)
            signal.signal(signal.SIGUSR1, self.open_public)
        yield
