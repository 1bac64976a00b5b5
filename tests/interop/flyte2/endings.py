"""Scenarios of how tasks end by themselves: success inline and by file, failures, retries, types, agents that answer at once."""

from __future__ import annotations

from typing import Any, Final

from flyteidl2.task import common_pb2

from interop.flyte2.rows import Promise, Row, take
from interop.flyte2.tasks import ConnectorTask, natives_of
from interop.flyte2.values import ORDERED, SAMPLES, seen
from interop.flyte2.world import World, job_task
from outboard.testing.ledger_jobs import FAILED, LOST

_WORDS: Final = "the disk of node 7 is full"
_SOME: Final = {"region": "here"}
"""The plugin refuses a task without a configuration, and an empty one is none to the SDK."""


async def succeeds_inline(world: World) -> Row:
    """A job whose outputs come with its status; the executor writes them."""
    return await _succeeds(world, "success, outputs inline", "inline", "rest_token")


async def succeeds_by_file(world: World) -> Row:
    """A job that writes `outputs.pb` itself."""
    return await _succeeds(world, "success, outputs by file", "files", "rest_files")


async def answers_at_once(world: World) -> Row:
    """A sync agent, which Flyte 2 has no service for: its answer is a job that has ended."""
    return await _succeeds(world, "sync agent, by create and get", "sync", "rest_answer")


async def refuses_at_once(world: World) -> Row:
    """A sync agent that refuses."""
    task = job_task("sync-no", "rest_answer", outcome=FAILED, message=_WORDS)
    await world.start("sync-no", task)
    await world.executor.wait("sync-no", "over")
    return await take(world, "sync agent that refuses", ["sync-no"], Promise(end="FAILED", words=_WORDS))


async def fails(world: World) -> Row:
    """A job that fails; the user reads the platform's words."""
    await world.start("failed", job_task("failed", running_s=0.5, outcome=FAILED, message=_WORDS))
    await world.executor.wait("failed", "over")
    return await take(world, "FAILED", ["failed"], Promise(end="FAILED", words=_WORDS))


async def fails_then_succeeds(world: World) -> Row:
    """A job that its platform loses; the executor aborts it and starts the next attempt in place."""
    await world.start("lost", job_task("lost", retries=1, running_s=2.0))
    first = await world.job("lost")
    ledger = world.first.ledger
    ledger.settle(first.id, LOST)
    await world.executor.wait("lost", "over")
    broken = ["a job that was over was cancelled"] if first.late_cancels and world.is_ours else []
    return await take(
        world,
        "RETRYABLE_FAILED, then success",
        ["lost"],
        Promise(jobs=2, attempts=2, words=world.jobs("lost")[-1].course.message),
        broken=[*broken, *await _wrong_answer(world, "lost", job_task("lost"))],
    )


async def carries_every_type(world: World) -> Row:
    """Every type that the SDK knows, through the executor's own files and messages."""
    fields = {f"v{number:02d}": each for number, each in reversed(list(enumerate(SAMPLES)))}
    types = {name: each.type for name, each in fields.items()}
    values: dict[str, Any] = {name: each.value for name, each in fields.items()}
    task = ConnectorTask("types", "echo", _SOME, inputs=types, outputs=types)
    await world.start("types", task, **values)
    await world.executor.wait("types", "over")
    natives = await _outputs(world, "types", task)
    broken = [f"{fields[n].kind} came back as {v!r}" for n, v in natives.items() if seen(v) != seen(fields[n].value)]
    broken += [f"{each.kind} did not come back" for name, each in fields.items() if name not in natives]
    return await take(world, f"{len(SAMPLES)} types and back", ["types"], Promise(jobs=0), broken=broken)


async def keeps_names_in_order(world: World) -> Row:
    """Names whose order differs from the alphabet's, each of its own type."""
    types = {name: type(value) for name, value in ORDERED.items()}
    task = ConnectorTask("order", "echo", _SOME, inputs=types, outputs=types)
    await world.start("order", task, **ORDERED)
    await world.executor.wait("order", "over")
    natives = await _outputs(world, "order", task)
    broken = [] if natives == ORDERED else [f"{natives} came back"]
    return await take(world, "ordered inputs and outputs", ["order"], Promise(jobs=0), broken=broken)


async def _succeeds(world: World, scenario: str, name: str, task_type: str) -> Row:
    task = job_task(name, task_type, running_s=0.5)
    await world.start(name, task)
    await world.executor.wait(name, "over")
    return await take(world, scenario, [name], Promise(), broken=await _wrong_answer(world, name, task))


async def _wrong_answer(world: World, name: str, task: ConnectorTask) -> list[str]:
    natives = await _outputs(world, name, task)
    return [] if natives == {"answer": 42} else [f"the next task reads {natives}"]


async def _outputs(world: World, name: str, task: ConnectorTask) -> dict[str, Any]:
    """Return an action's outputs as the SDK reads them in the task that uses them."""
    content = await world.executor.outputs(name)
    return {} if content is None else await natives_of(task, common_pb2.Outputs.FromString(content))
