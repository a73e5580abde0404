"""How many processors the process may use."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["usable_cpus"]

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cpus(*, cgroups: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Returns the processors that the process may run on, or fewer where its cgroups grant it less time than those.

    A quota of one processor and a half counts as two. A file that cannot be read or understood sets no limit.
    """
    limits = [len(os.sched_getaffinity(0))]
    for controllers, path in _memberships(membership):
        for folder in (path, *path.parents):  # each sets a limit for all below
            if controllers == [""]:
                limits.append(_rounded_up(*_quota_and_period(cgroups / folder / "cpu.max")))
            elif "cpu" in controllers:
                v1 = cgroups / "cpu" / folder
                limits.append(_rounded_up(_text(v1 / "cpu.cfs_quota_us"), _text(v1 / "cpu.cfs_period_us")))
    return max(min(limits), 1)


def _memberships(file: Path) -> Iterator[tuple[list[str], PurePosixPath]]:
    """The controllers and the path of each cgroup that the process is in; of version 2 the one controller is ""."""
    for line in _text(file).splitlines():
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if colon:
            yield controllers.split(","), PurePosixPath(path.lstrip("/"))


def _quota_and_period(file: Path) -> tuple[str, str]:
    quota, _, period = _text(file).partition(" ")
    return quota, period


def _rounded_up(quota: str, period: str) -> int:
    """Processors, of microseconds in each period of so many; "max", -1 and what is no number set no limit."""
    try:
        granted, each = int(quota), int(period)
    except ValueError:
        granted, each = -1, 1
    limited = granted > 0 and each > 0
    return math.ceil(granted / each) if limited else _NO_LIMIT


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


_NO_LIMIT = 1 << 30
