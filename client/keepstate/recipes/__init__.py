"""What applications build on records: short, and right where several instances work at once.

Each recipe is a class that is made of a view, costs nothing to make, and may be kept or made anew for each use. It
keeps its records under the keys that its page in docs/recipes names, so that programs in other languages find them.
Besides what a method names it raises what the calls of ``keepstate.State`` raise.

``keepstate.recipes.sync`` has the same for programs without asyncio.
"""

from __future__ import annotations

__all__ = [
    "Allowance",
    "AnalyticsCache",
    "Cache",
    "ChatContexts",
    "ChatHistory",
    "ChatSessions",
    "Conversation",
    "Conversations",
    "Counters",
    "Done",
    "FormDrafts",
    "Leader",
    "Lease",
    "LeaseLost",
    "Lock",
    "Message",
    "Once",
    "Outbox",
    "Queue",
    "QueueFull",
    "RateLimiter",
    "Records",
    "Sessions",
    "Step",
    "StepTaken",
    "Taken",
    "TaskCache",
    "UserCache",
    "Workflow",
]

from keepstate.recipes.cache import AnalyticsCache, Cache, TaskCache, UserCache
from keepstate.recipes.chat import ChatContexts, ChatHistory, ChatSessions
from keepstate.recipes.conversations import Conversation, Conversations
from keepstate.recipes.counters import Counters
from keepstate.recipes.leader import Leader
from keepstate.recipes.limiter import Allowance, RateLimiter
from keepstate.recipes.lock import Lease, LeaseLost, Lock
from keepstate.recipes.messages import Message
from keepstate.recipes.once import Done, Once
from keepstate.recipes.outbox import Outbox
from keepstate.recipes.queue import Queue, QueueFull, Taken
from keepstate.recipes.records import Records
from keepstate.recipes.sessions import FormDrafts, Sessions
from keepstate.recipes.workflow import Step, StepTaken, Workflow
