"""The Keepstate service. docs/architecture.md shows the way around."""
