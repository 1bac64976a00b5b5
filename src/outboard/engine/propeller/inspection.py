"""What is wrong with an existing configuration of Flyte's engine.

`inspect_engine` joins the checks. They look at a `Situation`: the configuration, what the service in question serves, and
how many jobs are live; what is not known is not checked. A check never reads files or asks services.
"""

from __future__ import annotations

from collections.abc import Iterable

from outboard.domain.endpoints import AgentInfo
from outboard.engine.propeller.deployment_checks import check_deployments
from outboard.engine.propeller.findings import Finding, error
from outboard.engine.propeller.layouts import EngineFiles
from outboard.engine.propeller.rate_checks import check_rates
from outboard.engine.propeller.routing_checks import check_routing
from outboard.engine.propeller.sections import SECTIONS
from outboard.engine.propeller.situation import Situation
from outboard.engine.propeller.value_checks import check_keys, read_section
from outboard.engine.routing import served_by


def inspect_engine(
    files: EngineFiles,
    *,
    generation: int | None = None,
    agents: Iterable[AgentInfo] | None = None,
    service: str | None = None,
    live_jobs: int | None = None,
) -> list[Finding]:
    """Return what is wrong, in the order of the files.

    Args:
        files: The configuration.
        generation: 1 or 2; by default what the files show, else 1.
        agents: What the service in question serves; None leaves that unchecked.
        service: The name under which the configuration has this service; None is the default, or the only one.
        live_jobs: How many jobs are live at a time; None leaves the rates unchecked.
    """
    is_flyte_2 = (generation or files.generation or 1) == 2
    findings = list(files.findings)
    written = []
    for kind in SECTIONS:
        tree = files.root.get("plugins", kind.section)
        if tree is not None:
            written.append(read_section(kind, tree, findings))
    situation = Situation(
        root=files.root,
        sections=written,
        is_flyte_2=is_flyte_2,
        served=None if agents is None else served_by(agents),
        service=service,
        live_jobs=live_jobs,
    )
    for each in written:
        findings.extend(check_keys(each, is_flyte_2=is_flyte_2))
    findings.extend(check_deployments(situation))
    findings.extend(check_routing(situation))
    findings.extend(check_rates(situation))
    if not written:
        findings.append(_nothing(files, is_flyte_2=is_flyte_2))
    order = {name: position for position, name in enumerate(dict.fromkeys(each.place.file for each in findings))}
    return sorted(dict.fromkeys(findings), key=lambda each: (order[each.place.file], each.place.line))


def _nothing(files: EngineFiles, *, is_flyte_2: bool) -> Finding:
    wanted = "plugins.connector-service" if is_flyte_2 else "plugins.connector-service nor plugins.agent-service"
    return error(
        "no-section",
        files.root.place,
        f"there is {'no' if is_flyte_2 else 'neither'} {wanted}",
        "no task goes to an agent service",
        "add what `outboard flyte-config` prints",
    )
