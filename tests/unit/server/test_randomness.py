"""Identifiers are never the same twice, in whatever process."""

from __future__ import annotations

import subprocess
import sys

from keepstate_server.engine.randomness import Randomness


def test_no_bytes_are_given_out_twice() -> None:
    source = Randomness()
    given = [source.randbytes(size) for size in (14, 8, 14, 5000, 16) for _ in range(300)]
    assert [len(each) for each in given] == [size for size in (14, 8, 14, 5000, 16) for _ in range(300)]
    assert len(set(given)) == len(given)


# In a process without threads, which may be forked; it tells what the parent and the child were given.
FORKING = """
import os
from keepstate_server.engine.randomness import Randomness
source = Randomness()
source.randbytes(14)
child = os.fork()
os.write(1, source.randbytes(14).hex().encode() + b"\\n")
if child:
    os.waitpid(child, 0)
"""


def test_a_process_that_is_forked_off_gives_out_others() -> None:
    told = subprocess.run([sys.executable, "-c", FORKING], check=True, capture_output=True, text=True, timeout=60)
    one, other = told.stdout.split()
    assert len(one) == len(other) == 28
    assert one != other
