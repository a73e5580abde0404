"""Processor time of processes and containers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from docker.models.containers import Container

__all__ = ["of_container", "of_process"]

_TICK = os.sysconf("SC_CLK_TCK")
_GROUPS = Path("/sys/fs/cgroup")


def of_process(pid: int, *, children: bool = True) -> float:
    """Seconds of processor time that a process has used so far, and its children if these are asked for."""
    seconds = _of_one(pid)
    if not children:
        return seconds
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            pids: Iterable[str] = (task / "children").read_text().split()
            seconds += sum(of_process(int(child)) for child in pids)
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread, or its child, has just ended
    return seconds


def _of_one(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def of_container(container: Container) -> float:
    """Seconds of processor time that a container has used so far, by its control group."""
    identifier = container.id
    for path, scale in _files(str(identifier)):
        if path.exists():
            text = path.read_text().split()
            value = text[0] if len(text) == 1 else text[text.index("usage_usec") + 1]
            return int(value) / scale
    # Where control groups are not to be read: all that it runs, as the machine sees it.
    return sum(_of_one(int(row[1])) for row in container.top()["Processes"])


def _files(identifier: str) -> list[tuple[Path, float]]:
    return [
        (_GROUPS / "cpuacct" / "docker" / identifier / "cpuacct.usage", 1e9),
        (_GROUPS / "docker" / identifier / "cpu.stat", 1e6),
        (_GROUPS / "system.slice" / f"docker-{identifier}.scope" / "cpu.stat", 1e6),
    ]
