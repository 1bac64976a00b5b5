"""An agent class that breaks the contract is refused when it is created, with a sentence that teaches."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, SecretStr

from outboard.agent import (
    AsyncAgent,
    BlockingAgent,
    Connection,
    Context,
    JobRef,
    Lookup,
    Named,
    Phase,
    Platform,
    Registry,
    SecretRef,
    Sensor,
    StateMap,
    Status,
    Submission,
    SyncAgent,
    Task,
    TaskConfig,
    TaskType,
    succeeded,
)
from outboard.errors import ContractViolation, UnknownTaskType

STATES = StateMap(
    {"RUNNING": Phase.RUNNING, "DONE": succeeded()}, documented=frozenset({"RUNNING", "DONE"}), source="https://x"
)


class Config(TaskConfig):
    seconds: float = 1.0


class Job(JobRef):
    pass


class _Whole(AsyncAgent[Config, Job, None]):
    """Complete; its children each break one thing (the underscore keeps it from being checked as final)."""

    name = "whole"
    task_types: ClassVar[Sequence[TaskType]] = (TaskType("whole"),)
    submission: ClassVar[Submission] = Named()
    states = STATES

    async def create(self, task: Task[Config], ctx: Context[None]) -> Job:
        return Job(id="1")

    async def get(self, job: Job, ctx: Context[None]) -> Status:
        return Status(state="DONE")

    async def cancel(self, job: Job, ctx: Context[None]) -> None:
        return None


def no_name() -> None:
    class Bad(_Whole):
        name = ""


def no_task_types() -> None:
    class Bad(_Whole):
        task_types = ()


def bare_task_type() -> None:
    class Bad(_Whole):
        task_types = "whole"  # type: ignore[assignment]


def same_task_type_twice() -> None:
    class Bad(_Whole):
        task_types = (TaskType("a", 1), TaskType("a", 1))


def no_submission() -> None:
    class Bad(_Whole):
        submission = None  # type: ignore[assignment]


def no_states() -> None:
    class Bad(_Whole):
        states = {"DONE": "SUCCEEDED"}  # type: ignore[assignment]


def plain_method_in_an_async_agent() -> None:
    class Bad(_Whole):
        def get(self, job: Job, ctx: Context[None]) -> Status:  # type: ignore[override]
            return Status(state="DONE")


def async_method_in_a_blocking_agent() -> None:
    class Bad(BlockingAgent[Config, Job, None]):
        name = "bad"
        task_types = (TaskType("bad"),)

        async def create(self, task: Task[Config], ctx: Context[None]) -> Job:  # type: ignore[override]
            return Job(id="1")


def async_links() -> None:
    class Bad(_Whole):
        async def links(self, job: Job, connection: Any) -> list[Any]:  # type: ignore[override]
            return []


def missing_cancel() -> None:
    class Bad(AsyncAgent[Config, Job, None]):
        name = "bad"
        task_types = (TaskType("bad"),)
        submission = Named()
        states = STATES

        async def create(self, task: Task[Config], ctx: Context[None]) -> Job:
            return Job(id="1")


def neither_get_nor_get_many() -> None:
    class Bad(AsyncAgent[Config, Job, None]):
        name = "bad"
        task_types = (TaskType("bad"),)
        submission = Named()
        states = STATES

        async def create(self, task: Task[Config], ctx: Context[None]) -> Job:
            return Job(id="1")

        async def cancel(self, job: Job, ctx: Context[None]) -> None:
            return None


def lookup_without_find() -> None:
    class Bad(_Whole):
        submission = Lookup(visible_within=timedelta(1), retained_for=timedelta(2))


def no_config_model() -> None:
    class Bad(Sensor[Any, None]):
        name = "bad"
        task_types = (TaskType("bad"),)

        async def poke(self, task: Task[Any], ctx: Context[None]) -> bool:
            return True


def batch_of_none() -> None:
    class Bad(_Whole):
        batch_size = 0


def secret_named_job_field() -> None:
    class Bad(JobRef):
        access_token: str


def secret_typed_connection_field() -> None:
    class Bad(Connection):
        login: SecretStr


def unhashable_job_field() -> None:
    class Bad(JobRef):
        steps: list[str]


def nested_unhashable_job_field() -> None:
    class Bad(JobRef):
        steps: tuple[dict[str, int], ...]


def thawed_model_in_a_job() -> None:
    class Thawed(BaseModel):
        x: int

    class Bad(JobRef):
        inner: Thawed


def platform_without_a_name() -> None:
    class Bad(Platform[Connection, None]):
        def agents(self) -> list[Any]:
            return []


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (no_name, "needs a name"),
        (no_task_types, "task_types = "),
        (bare_task_type, "task_types = "),
        (same_task_type_twice, "twice"),
        (no_submission, "must declare `submission`"),
        (no_states, "must declare `states`"),
        (plain_method_in_an_async_agent, "must be `async def`"),
        (async_method_in_a_blocking_agent, "write `def create`"),
        (async_links, "is pure"),
        (missing_cancel, "must define cancel"),
        (neither_get_nor_get_many, "get or get_many"),
        (lookup_without_find, "must define find"),
        (no_config_model, "no config model"),
        (batch_of_none, "batch_size"),
        (secret_named_job_field, "SecretRef"),
        (secret_typed_connection_field, "SecretRef"),
        (unhashable_job_field, "not hashable"),
        (nested_unhashable_job_field, "not hashable"),
        (thawed_model_in_a_job, "plain values"),
        (platform_without_a_name, "needs a name"),
    ],
)
def test_a_broken_class_is_refused_when_it_is_created(broken: Callable[[], None], words: str) -> None:
    with pytest.raises(ContractViolation, match=words):
        broken()


def test_a_secret_by_reference_and_nested_frozen_values_are_welcome_in_a_connection() -> None:
    class Good(Connection):
        endpoint: str
        api_token: SecretRef
        zones: tuple[str, ...] = ()

    good = Good(endpoint="https://x", api_token=SecretRef("key"), zones=("a",))
    assert hash(good) == hash(Good.model_validate(good.to_json()))


class Numbers(Platform[Connection, None]):
    name = "numbers"

    def __init__(self, *agents: type[Any]) -> None:
        super().__init__()
        self.classes = agents

    def agents(self) -> list[Any]:
        return [agent(self) for agent in self.classes]


class One(_Whole):
    name = "one"
    aliases = ("uno",)
    task_types = (TaskType("n", 0), TaskType("n", 1))


class AlsoOne(_Whole):
    name = "also"
    task_types = (TaskType("n", 1),)


class SameName(_Whole):
    name = "uno"
    task_types = (TaskType("other"),)


def test_two_agents_for_one_task_type_or_one_name_are_refused_and_the_first_stays() -> None:
    registry = Registry([Numbers(One)])
    with pytest.raises(ContractViolation, match=r"two agents serve n \(version 1\)"):
        registry.add(Numbers(AlsoOne))
    with pytest.raises(ContractViolation, match="two agents are called uno"):
        registry.add(Numbers(SameName))
    assert [agent.name for agent in registry] == ["one"]


def test_routing_is_exact_and_says_what_is_served() -> None:
    registry = Registry([Numbers(One)])
    assert registry.for_type(TaskType("n", 1)).name == "one"
    assert registry.named("uno") is registry.named("one")
    with pytest.raises(UnknownTaskType, match="in version 0, 1, not in version 2"):
        registry.for_type(TaskType("n", 2))
    with pytest.raises(UnknownTaskType, match="served: n"):
        registry.for_type(TaskType("m"))


def test_something_that_is_no_agent_is_refused() -> None:
    class Confused(Platform[Connection, None]):
        name = "confused"
        things: ClassVar[list[Any]] = [One]

        def agents(self) -> list[Any]:
            return self.things

    with pytest.raises(ContractViolation, match="not an agent instance"):
        Registry([Confused()])


def test_a_sync_agent_needs_no_job_and_no_states() -> None:
    class Hello(SyncAgent[Config, None]):
        name = "hello"
        task_types = (TaskType("hello"),)

        async def do(self, task: Task[Config], ctx: Context[None]) -> dict[str, Any]:
            return {}

    assert Hello.config_model is Config
    assert Hello.is_sync


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"visibility": 60}, "visibility must be a timedelta"),
        ({"poll_interval": 1.0}, "poll_interval must be a timedelta"),
        ({"pool_size": 0}, "pool_size must be a number of at least 1"),
        ({"batch_size": "many"}, "batch_size must be a number"),
        ({"secrets": SecretRef("key")}, "must be a tuple of SecretRefs"),
        ({"secrets": ("key",)}, "must be a tuple of SecretRefs"),
        ({"late_links": "Logs"}, "late_links is a text"),
    ],
)
def test_attributes_of_a_wrong_type_are_refused_when_the_class_is_created(
    attributes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ContractViolation, match=words):
        type("Broken", (_Whole,), attributes)


def test_methods_that_yield_are_refused() -> None:
    async def logs(self: Any, job: Job, ctx: Any, *, cursor: str | None, limit: int) -> Any:
        yield "line"

    def links(self: Any, job: Job, connection: Any) -> Any:
        yield "link"

    for method in (logs, links):
        with pytest.raises(ContractViolation, match="yields"):
            type("Broken", (_Whole,), {method.__name__: method})


@pytest.mark.parametrize("config", [{"frozen": False}, {"extra": "allow"}])
def test_a_job_that_is_not_frozen_is_refused(config: Any) -> None:
    with pytest.raises(ContractViolation, match="stay frozen"):
        type("Loose", (JobRef,), {"model_config": config, "__module__": __name__})
