"""What the service says where a call may be sent again."""

from __future__ import annotations

from datetime import timedelta

import grpc

from tests.unit.client.fake_service import refusal

__all__ = ["BUSY", "DOWN", "UNKNOWN", "UNTOUCHED"]

CODE = grpc.StatusCode

DOWN = refusal(CODE.UNAVAILABLE, "STORE_UNAVAILABLE", retry_after=timedelta(0))
UNTOUCHED = refusal(CODE.UNAVAILABLE, "STORE_UNAVAILABLE", metadata={"nothing_sent": "true"})
UNKNOWN = refusal(CODE.UNKNOWN, "OUTCOME_UNKNOWN")
BUSY = refusal(CODE.RESOURCE_EXHAUSTED, "OVERLOADED", retry_after=timedelta(milliseconds=100))
