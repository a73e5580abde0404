"""One instance of the assistant, beside a sidecar or alone: ``python -m examples.assistant.service``."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from datetime import timedelta
from typing import TypeAlias

import grpc
from dapr.aio.clients import DaprClient

from examples.assistant.agent import EVENTS, LEASE, Agent, Event, Message
from examples.assistant.serving import Fields, Handler, name, serve, text
from keepstate import Client, KeepstateError

PUBSUB = "pubsub"
"""The component that publishes events."""

PATIENCE = timedelta(seconds=3)
"""How long a message may take. Who sent it asks another instance a little later."""

RELAYED_EVERY = 0.5
"""Seconds until this instance looks for events that another left when it died."""

log = logging.getLogger("assistant")

Publish: TypeAlias = Callable[[str, Event], Awaitable[None]]
"""Publishes an event, with the id that it keeps however often it is published."""


class Service:
    """The methods, and the relay of events."""

    def __init__(self, agent: Agent, publish: Publish) -> None:
        self._agent = agent
        self._publish = publish
        self._said = asyncio.Event()
        """Something was said, of which there may be an event."""

    async def say(self, fields: Fields) -> Fields:
        """Answer a message of a user."""
        step = fields.get("step")
        if step is not None and not isinstance(step, str):
            raise ValueError("step must be a text")
        message = Message(user=name(fields, "user"), id=name(fields, "id"), text=text(fields, "text"), step=step)
        said, repeated = await self._agent.say(message)
        self._said.set()
        return {**asdict(said), "repeated": repeated}

    async def open(self, fields: Fields) -> Fields:
        """Tell what was said to a user last, and which step waits for an answer."""
        said, awaiting = await self._agent.open(name(fields, "user"))
        return {"messages": [each._asdict() for each in said], "awaiting": awaiting}

    async def relay(self) -> None:
        """Publish events, until cancelled."""
        while True:
            try:
                await self._agent.outbox.relay(self._publish)
            except (KeepstateError, grpc.RpcError, TimeoutError) as error:
                log.warning("events wait: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(RELAYED_EVERY):
                    await self._said.wait()
            self._said.clear()


@asynccontextmanager
async def publishing() -> AsyncIterator[Publish]:
    """What publishes an event: the sidecar where there is one, or else the log."""
    if not {"DAPR_GRPC_PORT", "DAPR_GRPC_ENDPOINT"} & os.environ.keys():

        async def note(_: str, event: Event) -> None:
            log.info("there is no sidecar, so nobody is told: %s", event)

        yield note
        return
    async with DaprClient() as sidecar:

        async def publish(event_id: str, event: Event) -> None:
            async with asyncio.timeout(LEASE.total_seconds() / 2):
                await sidecar.publish_event(
                    PUBSUB,
                    EVENTS,
                    json.dumps(event),
                    data_content_type="application/json",
                    publish_metadata={"cloudevent.id": event_id},
                )

        yield publish


@asynccontextmanager
async def running() -> AsyncIterator[Mapping[str, Handler]]:
    """The methods, while events are relayed."""
    address = os.environ.get("KEEPSTATE_ADDRESS", "localhost:7400")
    async with Client(address, namespace="assistant", timeout=PATIENCE) as state, publishing() as publish:
        service = Service(Agent(state), publish)
        relay = asyncio.create_task(service.relay())
        try:
            yield {"say": service.say, "open": service.open}
        finally:
            relay.cancel()
            with suppress(asyncio.CancelledError):
                await relay


if __name__ == "__main__":
    serve(running)
