"""The command line: `python -m aioapp`."""
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from ipaddress import ip_address

import aioapp
from aioapp import logs, supervisor
from aioapp.settings import SettingError, Settings, from_command_line

BACKLOG = 2048


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal ends it. Returns the exit status: 2 for a setting that cannot be used."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        settings = from_command_line(arguments, os.environ)
        if settings.workers > 1 or settings.reload:
            supervisor.check(settings)
        listening = listen(settings)
    except SettingError as error:
        print(f"aioapp: {error}", file=sys.stderr)
        return 2
    logs.configure(settings)
    raise_file_limit()
    with listening, asyncio.Runner(loop_factory=loop_factory()) as runner:
        if settings.workers > 1 or settings.reload:
            runner.run(supervisor.supervise(
                settings, listening, arguments, stopped=stopped, answering=lambda: greet(listening)))
        else:
            runner.run(serve(settings, listening))
    return 0


async def serve(settings: Settings, listening: socket.socket) -> None:
    """Serve on `listening` until SIGINT or SIGTERM; a second one ends what still runs at once."""
    from aiohttp import web

    from aioapp.app import create_app, drain, runner_of
    app = create_app(settings, loopback=is_loopback(listening))
    runner = runner_of(app)
    await runner.setup()
    try:
        await web.SockSite(runner, listening, backlog=BACKLOG).start()
        if settings.fd is None:
            greet(listening)
        await stopped(parent=None if settings.fd is None else os.getppid())
        await drain(app, settings.shutdown_timeout)
    finally:
        await runner.cleanup()


def listen(settings: Settings) -> socket.socket:
    """The socket to serve on: an inherited one, or a new one. Raises `SettingError` where there is none to be had."""
    try:
        if settings.fd is not None:
            return socket.socket(fileno=settings.fd)
        found = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV)
        family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        where = f"--fd {settings.fd}" if settings.fd is not None else f"{settings.host} port {settings.port}"
        raise SettingError(f"cannot listen on {where}: {error.strerror or error}") from None


def is_loopback(listening: socket.socket) -> bool:
    """Whether only this machine can reach the socket."""
    match listening.family, listening.getsockname():
        case (socket.AF_INET | socket.AF_INET6), (str(host), *_):
            return ip_address(host.partition("%")[0]).is_loopback
    return False


def address_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def greet(listening: socket.socket) -> None:
    address = address_of(listening)
    print(f"aioapp {aioapp.__version__} serves {address} (try {address}/docs; Ctrl+C stops it)", flush=True)


async def stopped(*, parent: int | None = None) -> None:
    """Wait for SIGINT or SIGTERM, or for the end of the process `parent`, which a worker must not outlive.

    The next signal is handled as if nobody had waited: it ends the process.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    while not stop.is_set() and parent in (None, os.getppid()):
        with suppress(TimeoutError):
            async with asyncio.timeout(None if parent is None else 1.0):
                await stop.wait()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop where it is installed, else asyncio's own."""
    if find_spec("uvloop") is None:
        return None
    import uvloop
    return uvloop.new_event_loop


def raise_file_limit() -> None:
    """Allow as many open files as the system lets us: every stream takes two, and a shell's usual limit is 1024."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
