"""The recipes for programs without asyncio: those of ``keepstate.recipes``, made of a ``keepstate.sync`` view.

Their calls wait for the answer; arguments, answers and errors are the same. A function that a recipe calls runs in the
thread that waits.
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

from keepstate.recipes.conversations import Conversation
from keepstate.recipes.limiter import Allowance
from keepstate.recipes.lock import LeaseLost
from keepstate.recipes.messages import Message
from keepstate.recipes.once import Done
from keepstate.recipes.queue import QueueFull, Taken
from keepstate.recipes.sync.cache import AnalyticsCache, Cache, TaskCache, UserCache
from keepstate.recipes.sync.chat import ChatContexts, ChatHistory, ChatSessions
from keepstate.recipes.sync.conversations import Conversations
from keepstate.recipes.sync.counters import Counters
from keepstate.recipes.sync.leader import Leader
from keepstate.recipes.sync.limiter import RateLimiter
from keepstate.recipes.sync.lock import Lease, Lock
from keepstate.recipes.sync.once import Once
from keepstate.recipes.sync.outbox import Outbox
from keepstate.recipes.sync.queue import Queue
from keepstate.recipes.sync.records import Records
from keepstate.recipes.sync.sessions import FormDrafts, Sessions
from keepstate.recipes.sync.workflow import Workflow
from keepstate.recipes.workflow import Step, StepTaken
