"""Keepstate as what other libraries keep their state in. Each module needs the extra of its name."""
