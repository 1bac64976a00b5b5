"""For each alert: series under which it fires, and series of an ordinary day under which it does not.

Values are promtool's: `0+6x60` begins at 0 and grows by 6 each minute, 60 times; `1x60` stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Case:
    """Series by name and labels."""

    fires: dict[str, str]
    rests: dict[str, str]


_LAG: Final = "outboard_event_loop_lag_seconds_bucket"
_GET: Final = "flyte_connector_request_latency_seconds_bucket"
_COUNT: Final = "flyte_connector_request_latency_seconds_count"
_FAILED: Final = "flyte_connector_requests_failure_total"
_CALL: Final = "outboard_platform_call_seconds_bucket"
_CREATE: Final = 'operation="create",task_type="x"'
_SLOW: Final = 'agent="a",method="runs/get",outcome="answered"'
_REFUSED: Final = "outboard_access_refused_total"
_EXPIRY: Final = "outboard_tls_certificate_expiry_timestamp_seconds"

CASES: Final = {
    "OutboardDown": Case(
        fires={'up{job="outboard"}': "0x60"}, rests={'up{job="outboard"}': "1x60", 'up{job="other"}': "0x60"}
    ),
    "OutboardCallsBreak": Case(
        fires={f'{_FAILED}{{{_CREATE},error_code="INTERNAL"}}': "0+6x60"},
        rests={
            f'{_FAILED}{{{_CREATE},error_code="UNAVAILABLE"}}': "0+6x60",
            f'{_FAILED}{{{_CREATE},error_code="INTERNAL"}}': "9x60",
        },
    ),
    "OutboardCallsFail": Case(
        fires={f'{_FAILED}{{{_CREATE},error_code="UNAVAILABLE"}}': "0+6x60", f"{_COUNT}{{{_CREATE}}}": "0+60x60"},
        rests={
            f'{_FAILED}{{{_CREATE},error_code="UNAVAILABLE"}}': "0+1x60",
            f'{_FAILED}{{{_CREATE},error_code="INVALID_ARGUMENT"}}': "0+50x60",
            f"{_COUNT}{{{_CREATE}}}": "0+100x60",
        },
    ),
    "OutboardPollsSlow": Case(
        fires={
            f'{_GET}{{operation="get",le="1.0"}}': "0+90x60",
            f'{_GET}{{operation="get",le="3.0"}}': "0+100x60",
            f'{_GET}{{operation="get",le="+Inf"}}': "0+100x60",
        },
        rests={
            f'{_GET}{{operation="get",le="0.2"}}': "0+100x60",
            f'{_GET}{{operation="get",le="1.0"}}': "0+100x60",
            f'{_GET}{{operation="get",le="+Inf"}}': "0+100x60",
            f'{_GET}{{operation="do",le="10.0"}}': "0+1x60",
            f'{_GET}{{operation="do",le="+Inf"}}': "0+9x60",
        },
    ),
    "OutboardRefusesCalls": Case(
        fires={'outboard_calls_refused_total{reason="excess"}': "0+1x60"},
        rests={
            'outboard_calls_refused_total{reason="excess"}': "8x60",
            'outboard_calls_refused_total{reason="draining"}': "0+9x60",
        },
    ),
    "OutboardAccountUnreachable": Case(
        fires={'outboard_account_reachable{platform="p",account="a"}': "0x60"},
        rests={'outboard_account_reachable{platform="p",account="a"}': "1x60"},
    ),
    "OutboardAccountRefusesCredentials": Case(
        fires={'outboard_account_calls_total{platform="p",account="a",outcome="refused"}': "0+2x60"},
        rests={'outboard_account_calls_total{platform="p",account="a",outcome="unreachable"}': "0+9x60"},
    ),
    "OutboardAccountThrottled": Case(
        fires={'outboard_budget_throttled_total{platform="p",account="a",method="m"}': "0+1x60"},
        rests={'outboard_budget_throttled_total{platform="p",account="a",method="m"}': "0x20 1x40"},
    ),
    "OutboardBudgetShort": Case(
        fires={'outboard_budget_waiting{platform="p",account="a",method="m"}': "30x60"},
        rests={'outboard_budget_waiting{platform="p",account="a",method="m"}': "30x20 1x40"},
    ),
    "OutboardPlatformSlow": Case(
        fires={
            f'{_CALL}{{{_SLOW},le="10.0"}}': "0+80x60",
            f'{_CALL}{{{_SLOW},le="30.0"}}': "0+100x60",
            f'{_CALL}{{{_SLOW},le="+Inf"}}': "0+100x60",
        },
        rests={
            f'{_CALL}{{{_SLOW},le="1.0"}}': "0+99x60",
            f'{_CALL}{{{_SLOW},le="10.0"}}': "0+100x60",
            f'{_CALL}{{{_SLOW},le="+Inf"}}': "0+100x60",
        },
    ),
    "OutboardCancelUnconfirmed": Case(
        fires={'outboard_cancel_unconfirmed_total{agent="a"}': "0x30 1x30"},
        rests={'outboard_cancel_unconfirmed_total{agent="a"}': "5x60"},
    ),
    "OutboardJobsUnclaimed": Case(
        fires={'outboard_jobs_unclaimed_total{agent="a"}': "0x30 1x30"},
        rests={'outboard_jobs_unclaimed_total{agent="a"}': "5x60"},
    ),
    "OutboardStatusesOld": Case(
        fires={
            'outboard_polls_total{agent="a",told="old"}': "0+60x60",
            'outboard_polls_total{agent="a",told="memory"}': "0+20x60",
        },
        rests={
            'outboard_polls_total{agent="a",told="old"}': "0+20x60",
            'outboard_polls_total{agent="a",told="memory"}': "0+60x60",
        },
    ),
    "OutboardUnknownStates": Case(
        fires={'outboard_unknown_states_total{agent="a"}': "0x30 1x30"},
        rests={'outboard_unknown_states_total{agent="a"}': "5x60"},
    ),
    "OutboardForeignHandles": Case(
        fires={"outboard_foreign_handles_total": "0x30 1x30"}, rests={"outboard_foreign_handles_total": "5x60"}
    ),
    "OutboardLoopBlocked": Case(
        fires={"outboard_event_loop_silent_seconds": "8x60"}, rests={"outboard_event_loop_silent_seconds": "0.1x60"}
    ),
    "OutboardLoopLags": Case(
        fires={f'{_LAG}{{le="0.2"}}': "0+50x60", f'{_LAG}{{le="1.0"}}': "0+60x60", f'{_LAG}{{le="+Inf"}}': "0+60x60"},
        rests={f'{_LAG}{{le="0.01"}}': "0+60x60", f'{_LAG}{{le="0.2"}}': "0+60x60", f'{_LAG}{{le="+Inf"}}': "0+60x60"},
    ),
    "OutboardThreadsHang": Case(
        fires={'outboard_pool_threads{agent="a",state="hanging"}': "2x60"},
        rests={
            'outboard_pool_threads{agent="a",state="busy"}': "8x60",
            'outboard_pool_threads{agent="a",state="hanging"}': "0x60",
        },
    ),
    "OutboardPlatformNotLoaded": Case(
        fires={'outboard_isolated_up{source="s"}': "0x60"}, rests={'outboard_isolated_up{source="s"}': "1x60"}
    ),
    "OutboardRestarts": Case(
        fires={'outboard_process_restarts_total{process="1"}': "0+1x60"},
        rests={
            'outboard_process_restarts_total{process="1"}': "0x30 1x30",
            'outboard_isolated_restarts_total{source="s"}': "7x60",
        },
    ),
    "OutboardWorkersDown": Case(
        fires={'outboard_processes{state="down"}': "1x60"},
        rests={'outboard_processes{state="down"}': "0x60", 'outboard_processes{state="up"}': "4x60"},
    ),
    "OutboardLogStorm": Case(
        fires={'outboard_log_lines_left_out_total{level="warning"}': "0+500x60"},
        rests={'outboard_log_lines_left_out_total{level="warning"}': "0+10x60"},
    ),
    "OutboardFilesRunOut": Case(
        fires={'process_open_fds{job="outboard"}': "900x60", 'process_max_fds{job="outboard"}': "1000x60"},
        rests={'process_open_fds{job="outboard"}': "90x60", 'process_max_fds{job="outboard"}': "1000x60"},
    ),
    "OutboardCallerRefused": Case(
        fires={f'{_REFUSED}{{caller="c",reason="project"}}': "0+1x60"},
        rests={
            f'{_REFUSED}{{caller="c",reason="project"}}': "700x60",
            f'{_REFUSED}{{caller="unknown",reason="token"}}': "0+9x60",
        },
    ),
    "OutboardAccessRefused": Case(
        fires={f'{_REFUSED}{{caller="unknown",reason="token"}}': "0+3x60"},
        rests={
            f'{_REFUSED}{{caller="unknown",reason="token"}}': "700x60",
            f'{_REFUSED}{{caller="c",reason="project"}}': "0+9x60",
        },
    ),
    "OutboardAccessUnenforced": Case(
        fires={'outboard_access_unenforced_total{caller="c",reason="project"}': "0x30 1x30"},
        rests={'outboard_access_unenforced_total{caller="c",reason="project"}': "5x60"},
    ),
    "OutboardIssuerUnreachable": Case(
        fires={'outboard_access_issuer_reachable{issuer="i"}': "0x60"},
        rests={'outboard_access_issuer_reachable{issuer="i"}': "0x5 1x35 0x3 1x20"},
    ),
    "OutboardCertificateExpires": Case(
        fires={f'{_EXPIRY}{{file="certificate"}}': "600000x60"},
        rests={f'{_EXPIRY}{{file="certificate"}}': "700000x60", f'{_EXPIRY}{{file="client_ca"}}': "9000000x60"},
    ),
    "OutboardCertificateEnds": Case(
        fires={f'{_EXPIRY}{{file="certificate"}}': "9000x60"}, rests={f'{_EXPIRY}{{file="certificate"}}': "600000x60"}
    ),
    "OutboardTlsFilesRefused": Case(
        fires={"outboard_tls_files_refused": "0x20 1x40"}, rests={"outboard_tls_files_refused": "0x46 1x2 0x12"}
    ),
    "OutboardSecretStoreSilent": Case(
        fires={'outboard_secret_store_silent_seconds{store="s"}': "0x40 60+60x20"},
        rests={'outboard_secret_store_silent_seconds{store="s"}': "0x47 60 120 0x10"},
    ),
    "OutboardSecretsOld": Case(
        fires={'outboard_secret_age_seconds{store="s"}': "0+60x60"},
        rests={'outboard_secret_age_seconds{store="s"}': "300x60"},
    ),
}
