"""The host: runs agents safely, for the gRPC service and in process alike.

Who is new here starts at `host`, and goes on by what it is about:

==================  ============================================================================================
started once        `requests`, `submissions`, `submission`, `starts`, `adoptions`, `intents`, `publications`,
                    `records`, `late_answers`, `unclaimed`
followed            `jobs`, `statuses`, `outputs`, `sensors`, `insights`, `parking`, `foreign`
cancelled           `cancellations`, `pursuits`, `owed_cancels`, `owed_lists`
answered at once    `answers`
agents' code        `calls`, `invocation`, `pools`, `agent_time`, `clients`, `budgets`, `accounts`, `account_metrics`
shared              `stores`, `offloads`, `flights`, `secrets`, `words`, `logs`, `metrics`, `settings`
==================  ============================================================================================
"""

from outboard.host.host import Host
from outboard.host.settings import HostSettings, SecretSettings

__all__ = ["Host", "HostSettings", "SecretSettings"]
