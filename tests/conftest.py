from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.containers import Containers, Images, Unavailable, find_images

pytest_plugins = ["tests.support.closing_line"]

# A shell that starts a run in the background, as some CIs do, has it ignore Ctrl-C; the programs that tests start, and
# end by it, would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def containers() -> Iterator[Containers]:
    """Redis, PostgreSQL and daprd, each started at its first use and shared by the whole run.

    Tests that break a server must mend it before they end, and keep to keys of their own.
    """
    running = Containers(_images())
    yield running
    running.close()


def _images() -> Images:
    try:
        return find_images()
    except Unavailable as problem:
        reason = f"no containers: {problem}"
    if os.environ.get("KEEPSTATE_REQUIRE_CONTAINERS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
