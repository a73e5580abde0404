"""Plain unary gRPC calls by h2load, nghttp2's load generator."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from pathlib import Path

from bench.http2 import Calls, framed
from bench.load import Measured

__all__ = ["run"]


async def run(calls: Calls, seconds: float, *, folder: Path, answer: int) -> Measured:
    """Runs one for each connection, each with a message of its own: it sends the same one in all calls.

    Args:
        calls: whose first messages are sent.
        seconds: how long.
        folder: where the messages are written for it to read.
        answer: the size of an answer, as it is sent. It does not look at what gRPC says of a call, but counts the
            bytes that came, and a refusal brings none.

    Returns:
        What they got done, with the mean time of a call in place of the median, which it does not tell.

    Raises:
        RuntimeError: there is no h2load, it failed, or fewer bytes came than calls were answered.
    """
    if shutil.which("h2load") is None:
        raise RuntimeError("there is no h2load here, and it could not be installed (scripts/h2load.sh)")
    texts = await asyncio.gather(*(_one(calls, number, seconds, folder) for number in range(calls.connections)))
    done = sum(int(_number(r"requests: .* (\d+) succeeded", text)) for text in texts)
    came = sum(int(_number(r"\((\d+)\) data", text)) for text in texts)
    if not done:
        raise RuntimeError(f"of the calls of {calls.method} at {calls.target} none was answered")
    if came < 0.95 * done * answer:
        raise RuntimeError(f"{done} calls of {calls.method} were answered with {came} bytes, each should have {answer}")
    rate = sum(_number(r"finished in .*?, ([\d.]+) req/s", text) for text in texts)
    latency = sum(_time(text) for text in texts) / len(texts)
    return Measured(operations=done, seconds=done / rate, latency=latency)


async def _one(calls: Calls, number: int, seconds: float, folder: Path) -> str:
    body = folder / f"message-{number}"
    body.write_bytes(framed(calls.messages[number]))
    headers = [part for header in ("content-type: application/grpc", "te: trailers") for part in ("-H", header)]
    limits = ["-c", "1", "-m", str(calls.streams), "-D", f"{1000 * seconds:.0f}ms"]
    command = ["h2load", *limits, "-d", str(body), *headers, f"http://{calls.target}{calls.method}"]
    # In a thread: the loop's own way to start a process disturbs the gRPC library.
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=seconds + 30)
    if done.returncode:
        raise RuntimeError(f"h2load failed: {done.stdout}{done.stderr}")
    return done.stdout


def _number(pattern: str, text: str) -> float:
    if (found := re.search(pattern, text)) is None:
        raise RuntimeError(f"h2load says something else: {text}")
    return float(found[1])


def _time(text: str) -> float:
    """The mean time of a request, the third figure of its line; seconds."""
    found = re.search(r"time for request: +\S+ +\S+ +([\d.]+)(us|ms|s)", text)
    if found is None:
        raise RuntimeError(f"h2load says something else: {text}")
    return float(found[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[found[2]]
