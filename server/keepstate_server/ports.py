"""A TCP port that several processes of ours may listen on, and nobody else."""

import errno
import socket
from contextlib import ExitStack

__all__ = ["ReservedPort"]

_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - only compared
_TRIES = 20


class ReservedPort:
    """Holds a port, without listening on it, for processes that listen with SO_REUSEPORT."""

    def __init__(self, host: str, port: int) -> None:
        """Reserves ``port`` of ``host``; 0 finds a free one.

        Raises:
            OSError: it is taken, or ``host`` is no address of this machine.
        """
        self._sockets = ExitStack()
        tries = 1 if port else _TRIES
        for left in reversed(range(tries)):
            self.port = port or _free_port(host)
            """The one that is reserved."""
            try:
                self._reserve(host)
            except OSError:
                self.close()
                if not left:
                    raise
            else:
                return

    def close(self) -> None:
        """Gives it up."""
        self._sockets.close()

    def _reserve(self, host: str) -> None:
        """Reserves it at each address of the host, as the gRPC library listens at each of them."""
        refused: OSError | None = None
        reserved = False
        for family, address in _addresses(host, self.port):
            try:
                self._sockets.enter_context(_reserved(family, address))
                reserved = True
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise
                refused = error  # such as ::1 where there is no IPv6
        if refused is not None and not reserved:
            raise refused


def _addresses(host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
    # To the gRPC library each wildcard means every address of either family.
    if host in _WILDCARDS:
        host = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - the setting says so
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # Each once: a file of hosts may name an address twice, and nobody gets it besides himself.
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _reserved(family: int, address: tuple[object, ...]) -> socket.socket:
    """A socket that keeps the port from all who do not listen with SO_REUSEPORT, and does not listen itself.

    To listen for a moment is what finds those out who listen already, with SO_REUSEPORT or without: the kernel lets a
    socket be bound beside others. Then it shares with those that come with SO_REUSEPORT, and without SO_REUSEADDR,
    which so far allowed for connections that had just ended, it keeps out all others.
    """
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            reserved.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] not in _WILDCARDS)
        reserved.bind(address)
        reserved.listen()
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.shutdown(socket.SHUT_RDWR)  # listens no more, and stays bound
    except BaseException:
        reserved.close()
        raise
    return reserved


def _free_port(host: str) -> int:
    # Bound by its number, and not as any free one, a port is kept when its socket listens no more.
    family, address = _addresses(host, 0)[0]
    with socket.socket(family, socket.SOCK_STREAM) as found:
        found.bind(address)
        return int(found.getsockname()[1])
