"""As whom a job runs: which service account a task acts as.

A task may ask for one by its `run_as` (flytekit: `SecurityContext(run_as=Identity(iam_role="etl@p.iam.gserviceaccount.com"))`).
Anybody can write that, so the operator lists which ones (`allowed_service_accounts`). Else the Flyte project's decides,
else the platform's. Roles of other clouds and names of Kubernetes service accounts in `run_as` are none of ours.
"""

from __future__ import annotations

from typing import Any, Final

from outboard.agent import Task
from outboard.errors import InvalidTask
from outboard.platforms.bigquery.settings import BigQuerySettings

_SUFFIX: Final = ".gserviceaccount.com"


def service_account_of(task: Task[Any], settings: BigQuerySettings) -> str:
    """Return the service account that a task acts as; empty for whoever logged in.

    Raises:
        InvalidTask: It asks for one that the operator does not list.
    """
    for asked in (task.run_as.iam_role, task.run_as.k8s_service_account):
        if asked.endswith(_SUFFIX):
            return _allowed(asked, settings)
    identity = task.identity
    by_project = settings.impersonate_by_project
    for name in (f"{identity.project}-{identity.domain}", identity.project):
        if name in by_project:
            return by_project[name]
    return settings.impersonate


def _allowed(email: str, settings: BigQuerySettings) -> str:
    if not settings.allows_service_account(email) or "/" in email or email.count("@") != 1:
        raise InvalidTask(
            f"tasks may not act as {email[:128]!a} here; the operator lists service accounts in "
            "platforms.bigquery.allowed_service_accounts",
            field="security_context.run_as",
        )
    return email
