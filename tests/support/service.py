"""The service as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Self

KEEPSTATE = Path(sys.executable).with_name("keepstate")


class ServiceProcess:
    """`keepstate serve` with ports of its own, which a test can end in any way and start again."""

    def __init__(self, folder: Path, ports: tuple[int, int], settings: Mapping[str, str]) -> None:
        self.address = f"127.0.0.1:{ports[0]}"
        self.health = f"http://127.0.0.1:{ports[1]}/healthz"
        self.log = folder / "serve.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPSTATE_", "DAPR_"))}
        self.environment = {
            **inherited,
            "KEEPSTATE_LISTEN": self.address,
            "KEEPSTATE_HTTP_LISTEN": f"127.0.0.1:{ports[1]}",
            "KEEPSTATE_DATA": str(folder / "data"),
            "KEEPSTATE_WORKERS": "1",  # what most tests need, and it starts soonest
            "KEEPSTATE_ADDRESS": self.address,
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Starts it and waits until it is ready."""
        self.begin()
        return self.wait_until("ready")

    def begin(self) -> Self:
        """Starts it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([KEEPSTATE, "serve"], env=self.environment, stderr=log, stdout=log)
        return self

    def wait_until(self, state: str, seconds: float = 30) -> Self:
        """Waits until it is "live" or "ready"."""
        deadline = time.monotonic() + seconds
        while not self.is_(state):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise TimeoutError(f"not {state}; exit code {self.process.poll()}\n{self.log.read_text()}")
            time.sleep(0.02)
        return self

    def wait_until_not(self, state: str, seconds: float = 30) -> None:
        """Waits until it is no more "live" or "ready"."""
        deadline = time.monotonic() + seconds
        while self.is_(state):
            if time.monotonic() > deadline:
                raise TimeoutError(f"still {state}\n{self.log.read_text()}")
            time.sleep(0.02)

    def is_(self, state: str) -> bool:
        """Whether it says that it is "live" or "ready"."""
        try:
            with urllib.request.urlopen(f"{self.health}/{state}", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    @property
    def runs(self) -> bool:
        """Whether there is a process that has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = 30) -> int:
        """Sends it a signal, waits for its end, and returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def close(self) -> None:
        """Ends it if it runs."""
        if self.runs:
            self.process.kill()
            self.process.wait(10)

    def keepstate(self, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Runs the command line against it."""
        return subprocess.run(
            [KEEPSTATE, *arguments], env=self.environment, input=stdin, capture_output=True, timeout=30, check=False
        )
