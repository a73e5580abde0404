"""Keepstate as what other libraries keep their state in. A module that needs the library has an extra."""
