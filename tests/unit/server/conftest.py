from __future__ import annotations

from hypothesis import settings

# The same examples in every run, and no opinion on how fast a busy machine is.
settings.register_profile("keepstate", derandomize=True, deadline=None, database=None)
settings.load_profile("keepstate")
