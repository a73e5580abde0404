"""How many processors a process may use: its affinity, and the quotas of its cgroups and of those above."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from keepstate_server.cpus import usable_cpus


@pytest.fixture
def many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))


def cpus(folder: Path, membership: str, **files: str) -> int:
    (folder / "membership").write_text(membership)
    for name, text in files.items():
        file = folder / "fs" / name.replace("__", "/").replace("cpu_", "cpu.")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return usable_cpus(cgroups=folder / "fs", membership=folder / "membership")


@pytest.mark.usefixtures("many_cpus")
def test_without_a_quota_it_is_what_the_process_may_run_on(tmp_path: Path) -> None:
    assert cpus(tmp_path, "0::/\n") == 64
    assert cpus(tmp_path, "0::/\n", cpu_max="max 100000\n") == 64
    assert cpus(tmp_path, "1:cpu:/\n", cpu__cpu_cfs_quota_us="-1", cpu__cpu_cfs_period_us="100000") == 64
    assert usable_cpus(cgroups=tmp_path / "none", membership=tmp_path / "no-file") == 64


@pytest.mark.usefixtures("many_cpus")
@pytest.mark.parametrize(("quota", "expected"), [(1_000, 1), (100_000, 1), (150_000, 2), (200_000, 2), (200_001, 3)])
def test_a_quota_is_rounded_up(tmp_path: Path, quota: int, expected: int) -> None:
    assert cpus(tmp_path, "0::/\n", cpu_max=f"{quota} 100000\n") == expected
    (tmp_path / "fs" / "cpu.max").unlink()
    v1 = {"cpu__cpu_cfs_quota_us": f"{quota}\n", "cpu__cpu_cfs_period_us": "100000\n"}
    assert cpus(tmp_path, "4:cpu,cpuacct:/\n0::/\n", **v1) == expected


@pytest.mark.usefixtures("many_cpus")
def test_the_narrowest_of_those_above_counts(tmp_path: Path) -> None:
    files = {"a__b__cpu_max": "max 100000", "a__cpu_max": "300000 100000", "cpu_max": "800000 100000"}
    assert cpus(tmp_path, "0::/a/b\n", **files) == 3


@pytest.mark.usefixtures("many_cpus")
def test_in_a_container_the_quota_is_at_the_root_though_the_path_is_the_hosts(tmp_path: Path) -> None:
    v1 = {"cpu__cpu_cfs_quota_us": "250000", "cpu__cpu_cfs_period_us": "100000"}
    assert cpus(tmp_path, "3:cpuacct,cpu:/docker/0123\n", **v1) == 3


@pytest.mark.usefixtures("many_cpus")
def test_other_cgroups_quotas_do_not_count(tmp_path: Path) -> None:
    assert cpus(tmp_path, "0::/a\n", b__cpu_max="100000 100000") == 64


def test_affinity_counts_where_it_is_narrower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3, 5})
    assert cpus(tmp_path, "0::/\n", cpu_max="400000 100000") == 2


@pytest.mark.usefixtures("many_cpus")
@pytest.mark.parametrize("text", ["", "max", "100000", "one two", "0 100000", "100000 0", "-5 -5", "\x00"])
def test_what_cannot_be_understood_sets_no_limit(tmp_path: Path, text: str) -> None:
    assert cpus(tmp_path, "0::/\nnonsense\n", cpu_max=text) == 64


@given(quota=some.integers(1, 10**7), period=some.integers(1_000, 10**6))
def test_it_is_never_less_than_one_nor_than_the_quota_grants(
    tmp_path_factory: pytest.TempPathFactory, quota: int, period: int
) -> None:
    found = cpus(tmp_path_factory.mktemp("cpus"), "0::/\n", cpu_max=f"{quota} {period}")
    assert found == max(1, min(len(os.sched_getaffinity(0)), math.ceil(quota / period)))
