"""The host: runs agents safely, for the gRPC service and in process alike.

Who is new here starts at `host`, and goes on by what it is about:

==================  ============================================================================================
started once        `requests`, `submissions`, `submission`, `starts`, `adoptions`, `intents`, `publications`,
                    `records`, `late_answers`, `unclaimed`
followed            `jobs`, `statuses`, `board`, `lanes`, `questions`, `verdicts`, `endings`, `outputs`,
                    `sensors`, `insights`, `parking`, `foreign`, `callbacks`, `hastening`
cancelled           `cancellations`, `pursuits`, `owed_cancels`, `owed_lists`
answered at once    `answers`
agents' code        `calls`, `invocation`, `pools`, `agent_time`, `clients`, `accounts`, `account_metrics`, `labels`
quotas              `budgets`, `queues`, `buckets`, `throttles`, `shares`, `quota_overrides`, `budget_metrics`
shared              `stores`, `offloads`, `flights`, `secrets`, `words`, `logs`, `metrics`, `settings`
==================  ============================================================================================
"""

from outboard.host.host import Host
from outboard.host.settings import HostSettings, SecretSettings

__all__ = ["Host", "HostSettings", "SecretSettings"]
