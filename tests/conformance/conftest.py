"""One set of cases for the clients of all languages, each against the same service on Redis through daprd."""

from __future__ import annotations

import itertools
import re
import socket
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from keepstate.testing import MovableClock
from keepstate_server.domain.promises import TITLES
from keepstate_server.stores.address import SidecarAddress
from tests.conformance.cases import PROMISES, RULES, Case, load
from tests.conformance.program import LANGUAGES, Gone, Program, Programs, command_of
from tests.conformance.running import Site, Stage, StageClock
from tests.contract.conftest import running_service
from tests.support.certificates import Authority, server_credentials
from tests.support.containers import Containers
from tests.support.servers import DaprContainer
from tests.support.service import ServiceProcess


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--languages", default=",".join(LANGUAGES), help="the languages whose clients are tested")


def pytest_configure(config: pytest.Config) -> None:
    if unknown := set(_languages(config)) - set(LANGUAGES):
        raise pytest.UsageError(f"--languages: there is no {', '.join(sorted(unknown))}; there are {LANGUAGES}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        cases = load()
        names = [re.sub(r"\W+", "-", case.law) for case in cases]
        metafunc.parametrize("case", cases, ids=names)
    if "language" in metafunc.fixturenames:
        metafunc.parametrize("language", _languages(metafunc.config), scope="session")


def _languages(config: pytest.Config) -> list[str]:
    return [each for each in re.split(r"[,\s]+", config.getoption("--languages")) if each]


@pytest.fixture(scope="session")
async def stage(containers: Containers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """The service on Redis through daprd, twice, and one more instance of it as a process."""
    folder: Path = tmp_path_factory.mktemp("conformance")
    authority, other = Authority(folder / "ca"), Authority(folder / "other")
    server, named = authority.issue("127.0.0.1"), authority.issue("keepstate.test")
    client = authority.issue("client.keepstate.test", file="client")
    async with AsyncExitStack() as stack:
        still = await stack.enter_async_context(_site(containers.daprd, MovableClock()))
        # What shares records must have one time.
        sidecar = containers.sidecar("conformance")
        stack.callback(sidecar.stop)
        clock = StageClock()
        moved = await stack.enter_async_context(_site(sidecar, clock))
        settings = {
            "KEEPSTATE_SIDECAR": "dapr",
            "KEEPSTATE_DEFAULT_STORE": "redis",
            "DAPR_GRPC_ENDPOINT": containers.daprd.grpc_target,
            "DAPR_HTTP_ENDPOINT": containers.daprd.http_endpoint,
        }
        process = ServiceProcess(folder, _free_ports(), settings)
        stack.callback(process.close)
        yield Stage(
            still=still,
            moved=moved,
            clock=clock,
            credentials={
                "tls": server_credentials(server),
                "mutual": server_credentials(server, client_ca=authority.file),
                "named": server_credentials(named),
            },
            files={"ca": authority.file, "other_ca": other.file, "client_cert": client.cert, "client_key": client.key},
            process=process,
        )


@asynccontextmanager
async def _site(sidecar: DaprContainer, clock: MovableClock) -> AsyncIterator[Site]:
    address = SidecarAddress(grpc=sidecar.grpc_target, http=sidecar.http_endpoint)
    async with (
        running_service(address, clock=clock, default_store="redis") as one,
        running_service(address, clock=clock, default_store="redis") as two,
    ):
        yield Site(channels=[one.channel, two.channel], clock=clock)


def _free_ports() -> tuple[int, int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        one, other = (each.getsockname()[1] for each in sockets)
        return one, other


_COMMANDS: dict[str, list[str] | Gone] = {}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds the programs: within a test that could take longer than a test may."""
    if session.config.option.collectonly:
        return
    found = [_parameters(item) for item in session.items]
    for language in {each["language"] for each in found if {"case", "language"} <= each.keys()}:
        try:
            _COMMANDS[language] = command_of(language)
        except (Gone, OSError) as error:
            _COMMANDS[language] = Gone(str(error))


@pytest.fixture(scope="session")
async def programs() -> AsyncIterator[Programs]:
    """The programs of all languages. One that could not be built fails every case."""
    running = Programs(_COMMANDS)
    yield running
    await running.end()


@pytest.fixture
async def program(programs: Programs, language: str) -> Program:
    """The program of a language."""
    try:
        return await programs.of(language)
    except Gone as error:
        pytest.fail(f"the program in {language}: {error}", pytrace=False)


_NUMBERS = itertools.count(1)


@pytest.fixture
def namespace() -> str:
    """A namespace that no other case has."""
    return f"case-{next(_NUMBERS)}"


# The report: a line a promise or rule, a column a language.

_RESULTS: dict[tuple[str, str], list[str]] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report: Any = yield
    parameters = _parameters(item)
    if {"case", "language"} <= parameters.keys() and (report.when == "call" or report.failed):
        case: Case = parameters["case"]
        for shown in (*map(str, case.promises), *case.rules):
            _RESULTS.setdefault((shown, parameters["language"]), []).append(report.outcome)
    return report


def _parameters(item: pytest.Item) -> Mapping[str, Any]:
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec else {}


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not _RESULTS:
        return
    languages = _languages(config)
    terminalreporter.section("conformance: cases passed, by promise or rule and language")
    terminalreporter.write_line(f"{'':16}  " + "  ".join(f"{name:>9}" for name in languages))
    for shown, title in _rows():
        cells = [_cell(_RESULTS.get((shown, language), [])) for language in languages]
        if shown not in (*map(str, PROMISES), *RULES):
            cells = ["not built" for _ in languages]
        terminalreporter.write_line(f"{title:16}  " + "  ".join(f"{cell:>9}" for cell in cells))


def _rows() -> Iterator[tuple[str, str]]:
    yield from ((str(number), f"{number:>2} {title}") for number, title in TITLES.items())
    yield from ((rule, rule) for rule in RULES)


def _cell(outcomes: list[str]) -> str:
    if "failed" in outcomes:
        return f"{outcomes.count('failed')} FAILED"
    passed = outcomes.count("passed")
    return "-" if not outcomes else f"{passed}" if passed == len(outcomes) else f"{passed} of {len(outcomes)}"
