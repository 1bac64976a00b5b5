"""States: whatever word a platform answers, no shipped agent lets it end a job wrongly.

Every agent that is installed, and those of the kit, is asked through a whole host whose platform says one word after another:
a thousand that nobody documents (noise, near misses of real states, pairs) and every documented one. Only the client is a
fake: state map, `judge`, outputs and the host's rules are the real ones. Asked:

* a word that is not documented never ends a job, is flagged, and is not remembered once the platform makes sense again; only
  under a word that says "it is over" does an unknown *result*, or none, end one, as FAILED and flagged, never as SUCCEEDED;
* where a table says of a first word that it is a failure whatever comes second, it is that failure and never a success;
* a documented word ends a job exactly when its agent's table says so, with success only where the table says success;
* a sensor ends with True and with nothing else.
"""

from __future__ import annotations

import copy
import random
import string
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any, Final

from outboard.agent import Agent, Connection, Platform, Registry, Status, Task, discover
from outboard.agent.agents import JobAgent, PolledAgent, WatchingAgent
from outboard.domain.handles import Handle
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.keys import submission_key
from outboard.domain.phases import Phase
from outboard.domain.statuses import State
from outboard.domain.tasks import Inputs, RawTask, TaskType
from outboard.domain.types import Interface, SimpleType
from outboard.errors import Retry
from outboard.host import Host, HostSettings
from outboard.host.sensors import pack_task
from outboard.testing.ledger_agents import LEDGER_AGENTS, LedgerPlatform
from outboard.testing.stores import MemoryStores
from proof.scenarios import OURS_ONLY, Result, Scenario, System

_SENSOR_TASK: Final[RawTask] = Task(
    type="file_sensor",
    config={},
    inputs=Inputs({"path": "/nowhere"}),
    interface=Interface(inputs={"path": SimpleType.STRING}),
)


class Saying(Platform[Connection, Any]):
    """A platform whose client is the word that it says next."""

    name = "saying"

    def __init__(self) -> None:
        super().__init__()
        self.word: Any = ""
        self.asked = 0
        self._agents: list[Agent] = []

    def agents(self) -> Sequence[Agent]:
        """Return those that were made to listen."""
        return self._agents

    def open(self, connection: Any, secrets: Any, http: Any) -> AbstractAsyncContextManager[Any]:
        """Return the platform itself."""
        del connection, secrets, http
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Any]:
        yield self

    def listen(self, agent: Agent) -> Agent:
        """Return a shipped agent that asks this platform instead of its own."""
        listening = copy.copy(agent)
        listening.platform = self
        methods = _sensor(agent) if isinstance(agent, WatchingAgent) else _jobs(agent)
        listening.__class__ = type(type(agent).__name__, (type(agent),), methods)
        self._agents = [listening]
        return listening

    def status(self) -> Status:
        """Say the word."""
        self.asked += 1
        return Status(state=self.word, outputs={})


def _jobs(agent: Agent) -> dict[str, Any]:
    """Return the two methods that ask a client for statuses, in the manner of the agent's kind."""

    def get(self: Any, job: Any, ctx: Any) -> Status:
        del self, job
        client: Saying = ctx.client
        return client.status()

    def get_many(self: Any, jobs: Sequence[Any], ctx: Any) -> Mapping[str, Status]:
        del self
        return {job.id: ctx.client.status() for job in jobs}

    async def get_later(self: Any, job: Any, ctx: Any) -> Status:
        return get(self, job, ctx)

    async def get_many_later(self: Any, jobs: Sequence[Any], ctx: Any) -> Mapping[str, Status]:
        return get_many(self, jobs, ctx)

    if isinstance(agent, JobAgent) and agent.is_batching:
        return {"get_many": get_many if agent.is_blocking else get_many_later}
    return {"get": get if agent.is_blocking else get_later}


def _sensor(agent: Agent) -> dict[str, Any]:
    def poke(self: Any, task: Any, ctx: Any) -> Any:
        del self, task
        ctx.client.asked += 1
        return ctx.client.word

    async def poke_later(self: Any, task: Any, ctx: Any) -> Any:
        return poke(self, task, ctx)

    return {"poke": poke if agent.is_blocking else poke_later}


def shipped() -> list[Agent]:
    """Return every installed agent that has jobs or watches, and the kit's."""
    kit = LedgerPlatform(agents=tuple(LEDGER_AGENTS.values()))
    found = [*discover(), *Registry([kit])]
    return [agent for agent in found if isinstance(agent, (JobAgent, WatchingAgent))]


def odd_words(documented: Iterable[State], size: int, seed: int) -> Iterator[State]:
    """Return `size` words that are not documented: noise, near misses, and pairs of both."""
    chance = random.Random(seed)  # noqa: S311 - choices that can be repeated
    known = sorted(documented, key=str)
    firsts = [state[0] if isinstance(state, tuple) else state for state in known] or ["RUNNING"]
    found = 0
    while found < size:
        word = chance.choice((_noise, _near))(chance, firsts)
        state: State = (chance.choice((word, chance.choice(firsts))), word) if chance.random() < 0.2 else word
        if state not in known:
            found += 1
            yield state


def _noise(chance: random.Random, _: Sequence[str]) -> str:
    alphabet = chance.choice((string.printable, string.ascii_uppercase + "_", "äß漢字\u202e\x00\ud800🛶", "0123456789"))
    return "".join(chance.choices(alphabet, k=chance.choice((0, 1, 3, 12, 200))))


def _near(chance: random.Random, words: Sequence[str]) -> str:
    word = chance.choice(words)
    at = chance.randrange(len(word))
    return chance.choice(
        (
            word.lower(),
            word.title(),
            f"{word} ",
            f" {word}",
            f"{word}\n",
            f"{word}_2",
            f"NOT_{word}",
            f"{word}*",
            word[:at] + word[at + 1 :],
            word[:at] + chance.choice(string.ascii_letters) + word[at + 1 :],
            f"JobState.{word}",
            "*",
        )
    )


class _Asked:
    """A host with one agent whose platform says what it is told."""

    def __init__(self, agent: Agent) -> None:
        self.platform = Saying()
        self.agent = self.platform.listen(agent)
        if isinstance(self.agent, PolledAgent):  # of the class made above, not the shipped one
            type(self.agent).poll_interval = type(self.agent).max_staleness = timedelta(0)
        self.host = Host(Registry([self.platform]), HostSettings(), stores=MemoryStores())
        self._number = 0

    def handle(self) -> bytes:
        """Return the handle of another job, or of another sensor's task."""
        self._number += 1
        agent = self.agent
        prefix = f"memory://states/{agent.name}/{self._number}/0"
        key = submission_key("proof", ExecutionIdentity(execution="e", node=f"n{self._number}"), prefix)
        memo = b""
        if isinstance(agent, WatchingAgent):
            model = agent.config_model
            fields = {name: "x" for name, field in model.model_fields.items() if field.is_required()}
            memo = pack_task(_SENSOR_TASK.with_config(model.model_validate(fields)))
        handle = Handle(
            agent=agent.name,
            task_type=agent.task_types[0].name,
            task_type_version=agent.task_types[0].version,
            key=key,
            output_prefix=prefix,
            job={"id": key.text},
            output_types={},
            memo=memo,
        )
        return self.host.codec.encode(handle)

    async def says(self, handle: bytes, word: Any) -> Any:
        """Let the platform say a word and poll; the poll must have asked."""
        self.platform.word = word
        asked = self.platform.asked
        status = await self.host.get_task(handle, task_type=self.task_type)
        if self.platform.asked == asked:
            raise AssertionError(f"{self.agent.name} was not asked")
        return status

    @property
    def task_type(self) -> TaskType:
        """What it serves."""
        return self.agent.task_types[0]


async def _judge_job(asked: _Asked, size: int, seed: int) -> Counter[str]:
    agent, figures = asked.agent, Counter[str]()
    assert isinstance(agent, JobAgent)  # noqa: S101 - for the type checker
    handle = asked.handle()
    for word in odd_words(agent.states.documented, size, seed):
        figures["words"] += 1
        status = await asked.says(handle, word)
        first = word[0] if isinstance(word, tuple) else word
        may_end = agent.states.read((first, "\x00")).phase is Phase.FAILED
        may_come = {Phase.FAILED, _told(agent, word)} - {Phase.SUCCEEDED} if may_end else set()
        figures["ended_wrongly"] += status.phase.is_terminal and status.phase not in may_come
        figures["unflagged"] += not (status.is_flagged or (may_end and not agent.states.read(word).is_flagged))
        if status.phase.is_terminal:
            handle = asked.handle()
    for word in sorted(agent.states.documented, key=str):
        figures["documented"] += 1
        status = await asked.says(asked.handle(), word)
        figures["misread"] += status.phase is not _told(agent, word)
        figures["flagged_wrongly"] += status.is_flagged
    return figures


def _told(agent: JobAgent, word: State) -> Phase:
    """Return the phase that an agent's table gives a word."""
    reading = agent.states.read(word)
    is_retryable = reading.failure is not None and reading.failure.retry is Retry.YES
    return Phase.RETRYABLE_FAILED if reading.phase is Phase.FAILED and is_retryable else reading.phase


async def _judge_sensor(asked: _Asked, size: int, seed: int) -> Counter[str]:
    figures, handle = Counter[str](), asked.handle()
    for word in (*odd_words((), size, seed), 1, 0, None, "True", [True], {"there": True}, 1.0, False):
        figures["words"] += 1
        status = await asked.says(handle, word)
        figures["ended_wrongly"] += status.phase.is_terminal
    figures["documented"] += 1
    status = await asked.says(handle, True)  # noqa: FBT003 - a sensor's answer
    figures["misread"] += status.phase is not Phase.SUCCEEDED
    return figures


async def words(system: System, size: int, seed: int) -> Iterable[Result]:
    """Let the platform of every shipped agent say `size` odd words and every documented one."""
    rows = []
    for agent in shipped():
        asked = _Asked(agent)
        async with asked.host:
            judge = _judge_sensor if isinstance(agent, WatchingAgent) else _judge_job
            figures = await judge(asked, size, seed)
        broken = ("ended_wrongly", "unflagged", "misread", "flagged_wrongly")
        rows.append(
            Result(
                scenario="states",
                variant=agent.name,
                tasks=figures["words"] + figures["documented"],
                jobs=0,
                second_jobs=0,
                live_left=0,
                handles=0,
                seed=seed,
                is_kept=not any(figures[name] for name in broken),
                notes={"system": system.name, **figures},
            )
        )
    return rows


SCENARIOS: Sequence[Scenario] = (
    Scenario(
        name="states/words",
        promise="Only the platform's own documented word ends a job, for every shipped agent.",
        run=words,
        short=1_000,
        full=20_000,
        systems=OURS_ONLY,
    ),
)
