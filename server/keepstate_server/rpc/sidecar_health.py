"""What the sidecar asks of an application: whether it is healthy (Dapr's app health check)."""

from typing import Any

import grpc
from dapr.proto import appcallback_service_v1, appcallback_v1
from google.protobuf.empty_pb2 import Empty

__all__ = ["add_sidecar_health"]


class _SidecarHealth(appcallback_service_v1.AppCallbackHealthCheckServicer):
    """Healthy as long as it answers.

    It must not depend on the sidecar or its stores: each would wait for the other.
    """

    async def HealthCheck(
        self, request: Empty, context: grpc.aio.ServicerContext[Empty, appcallback_v1.HealthCheckResponse]
    ) -> appcallback_v1.HealthCheckResponse:
        return appcallback_v1.HealthCheckResponse()


def add_sidecar_health(server: grpc.aio.Server) -> None:
    """Has ``server`` answer the sidecar's health checks."""
    add: Any = appcallback_service_v1.add_AppCallbackHealthCheckServicer_to_server  # the SDK has no types for it
    add(_SidecarHealth(), server)
