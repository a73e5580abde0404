"""Ends a test run with one line: what was run, and what was skipped and why."""

from __future__ import annotations

from collections import Counter

import pytest


def _part(report: pytest.TestReport) -> str:
    """The folder below tests/ that the test is in, which says what kind of test it is."""
    parts = report.nodeid.split("::")[0].split("/")
    return parts[1] if len(parts) > 2 else "other"


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return "no reason given"


@pytest.hookimpl(trylast=True)  # after pytest's own last line
def pytest_unconfigure(config: pytest.Config) -> None:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None or config.option.collectonly:
        return
    reports = {
        name: [r for r in terminal.stats.get(name, []) if isinstance(r, pytest.TestReport)] for name in _OUTCOMES
    }
    ran = Counter(_part(report) for name in _OUTCOMES if name != "skipped" for report in reports[name])
    skipped = Counter((_part(report), _reason(report)) for report in reports["skipped"])
    line = "keepstate: ran " + (", ".join(f"{ran[part]} {part}" for part in sorted(ran)) or "nothing")
    line += "; skipped " + (", ".join(f"{n} {part} ({why})" for (part, why), n in sorted(skipped.items())) or "nothing")
    terminal.write_line(line)


_OUTCOMES = ("passed", "failed", "error", "xfailed", "xpassed", "skipped")
