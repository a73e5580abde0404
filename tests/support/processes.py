"""What the kernel tells of processes: who started whom, and who has which connections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_ESTABLISHED, _LISTENING = "01", "0A"


def children_of(pid: int) -> list[int]:
    """The processes that a process started and that have not ended."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_gone(pid: int) -> bool:
    """Whether there is no such process, or it has ended and its parent has not asked about it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def listens_on(pid: int, port: int) -> bool:
    """Whether a process listens on a port of its own machine."""
    return any(state == _LISTENING for state in _sockets(pid, port))


def connections_of(pid: int, port: int) -> int:
    """How many connections to a port a process has taken."""
    return sum(state == _ESTABLISHED for state in _sockets(pid, port))


def _sockets(pid: int, port: int) -> Iterator[str]:
    """The states of a process's sockets whose own port is this one."""
    own = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            own.add(str(each.readlink()))
        except FileNotFoundError:  # closed since
            continue
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
            if int(local.rpartition(":")[2], 16) == port and f"socket:[{inode}]" in own:
                yield state
