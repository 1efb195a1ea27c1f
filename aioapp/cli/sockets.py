"""The socket to serve on: a new one or an inherited one, and who can reach it."""
import os
import socket
from ipaddress import ip_address

from aioapp.settings import SettingError, Settings

BACKLOG = 2048


def listen(settings: Settings) -> socket.socket:
    """The socket to serve on: an inherited one, or a new one. Raises `SettingError` where there is none to be had."""
    where = f"{settings.host} port {settings.port}" if settings.fd is None else f"--fd {settings.fd}"
    try:
        return bound(settings.host, settings.port) if settings.fd is None else inherited(settings.fd)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that is none, `a..b` say
        why = reason(error)
        raise SettingError(f"cannot listen on {where}: {why}") from None


def reason(error: OSError | UnicodeError) -> str:
    """Why there is no socket, without the address, which socket.create_server() says once more."""
    match error:
        case socket.gaierror(strerror=str(said)):
            return said
        case OSError(errno=int(number)):
            return os.strerror(number)
    return str(error)


def bound(host: str, port: int) -> socket.socket:
    """A new socket, on IPv4 where `host` has both: that is what `localhost` has always meant to callers."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV)
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return socket.create_server((str(address[0]), int(address[1])), family=family, backlog=BACKLOG)


def inherited(fd: int) -> socket.socket:
    listening = socket.socket(fileno=fd)
    if listening.family in (socket.AF_INET, socket.AF_INET6) and listening.type == socket.SOCK_STREAM:
        return listening
    listening.detach()
    raise OSError("it is no TCP socket")


def is_loopback(listening: socket.socket) -> bool:
    """Whether only this machine can reach the socket."""
    return ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


def reachable_at(listening: socket.socket) -> str | None:
    """Where others reach the socket, None if only this machine can."""
    return None if is_loopback(listening) else str(listening.getsockname()[0])


def address_of(listening: socket.socket) -> tuple[str, int]:
    """Where a caller on this machine finds the socket: one that listens everywhere is on loopback too."""
    host, port = listening.getsockname()[:2]
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port
