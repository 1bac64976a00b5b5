"""The host: runs agents safely, for the gRPC service and in process alike.

Who is new here starts at `host`, and goes on by what it is about. Packages start at the module of their own name:

==================  ============================================================================================
started once        `requests`, `submissions`
followed            `jobs`, `statuses`, `outputs`, `sensors`, `insights`, `parking`, `foreign`, `callbacks`
cancelled           `cancellations`
answered at once    `answers`
agents' code        `exchange`, `calls`, `invocation`, `pools`, `agent_time`, `clients`, `accounts`, `account_metrics`, `labels`,
                    `platform_call_metrics`
quotas              `budgets`
traces              `tracing`, `spans`
examined            `examination`, `inquiries`, `pings`
shared              `stores`, `offloads`, `codecs`, `flights`, `words`, `logs`, `metrics`, `settings`
secrets             `secrets`, `secret_settings`, `store_settings`
==================  ============================================================================================
"""

from outboard.host.host import Host
from outboard.host.secret_settings import SecretSettings
from outboard.host.settings import HostSettings

__all__ = ["Host", "HostSettings", "SecretSettings"]
