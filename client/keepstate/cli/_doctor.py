"""The command that tries a store out."""

from __future__ import annotations

__all__ = ["add_doctor"]

from dataclasses import asdict
from typing import Annotated, Any

import typer

from keepstate.cli._calls import call
from keepstate.cli._completion import store_names
from keepstate.cli._options import Output, OutputFormat
from keepstate.cli._output import print_fields, print_json, print_rows, print_value
from keepstate.cli._target import Target, with_target
from keepstate.stores import Finding, Probe, Verdict

EXIT_MISSING = 1


def add_doctor(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


@with_target("store", "namespace")
def doctor(
    target: Target,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="STORE", help="The Dapr state component; else the service's default.", autocompletion=store_names
        ),
    ] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Try out what a live store does, and print what was seen and what it means.

    kept: the store does it. mended: the service does something about it. missing: nobody does. It takes some five
    seconds, and up to a minute unless --timeout says otherwise; its keys are deleted afterwards. -o value prints what
    is missing alone. Exit code 1: something is missing that the contract needs.
    """
    found = call(target, lambda state: state.store(name or "").probe(timeout=target.timeout))
    _show(found, output)
    if not found.satisfied:
        raise typer.Exit(EXIT_MISSING)


def _show(found: Probe, output: OutputFormat) -> None:
    if output is OutputFormat.VALUE:
        missing = (each.name for each in found.findings if each.verdict is Verdict.MISSING)
        print_value("".join(f"{name}\n" for name in missing).encode())
    elif output is OutputFormat.JSON:
        findings = [_fields(each) for each in found.findings]
        print_json({"store": asdict(found.store), "satisfied": found.satisfied, "findings": findings})
    else:
        info = found.store
        print_fields({"store": info.name, "type": info.component_type, "version": info.component_version})
        print_rows(("check", "seen", "expected", "verdict", "more"), [_row(each) for each in found.findings])


def _fields(finding: Finding) -> dict[str, Any]:
    fields = asdict(finding)
    del fields["duration"]
    return {**fields, "seconds": finding.duration.total_seconds()}


def _row(finding: Finding) -> tuple[str, ...]:
    more = "; ".join(text for text in (finding.detail, finding.consequence) if text)
    return finding.name, finding.seen, finding.expected, finding.verdict.value, more
