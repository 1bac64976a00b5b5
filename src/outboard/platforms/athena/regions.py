"""AWS's regions: where a region's API and console are.

Source: the endpoint rules of botocore 1.43 (`endpoint-rule-set-1.json` of Athena) for the partitions' domains; the console's
addresses as AWS redirects to them, read 2026-11-22.
"""

from __future__ import annotations

from typing import Final

_DOMAINS: Final = (
    ("cn-", "amazonaws.com.cn", "console.amazonaws.cn"),
    ("us-gov-", "amazonaws.com", "console.amazonaws-us-gov.com"),
    ("us-iso-", "c2s.ic.gov", ""),
    ("us-isob-", "sc2s.sgov.gov", ""),
    ("eusc-", "amazonaws.eu", "console.amazonaws-eusc.eu"),
    ("", "amazonaws.com", "console.aws.amazon.com"),
)


def endpoint_of(region: str, told: str = "") -> str:
    """Return where a region's Athena API is, without a slash at the end.

    Args:
        region: The region.
        told: The operator's own, with `{region}` where it differs by region.
    """
    return told.replace("{region}", region) if told else f"https://athena.{region}.{_domains(region)[0]}"


def console_url(region: str, query_id: str, told: str = "") -> str:
    """Return a query's page in the console; empty for regions whose console has no public address."""
    console = told or _domains(region)[1]
    if not console:
        return ""
    host = console if told else f"https://{region}.{console}"
    return f"{host}/athena/home?region={region}#/query-editor/history/{query_id}"


def _domains(region: str) -> tuple[str, str]:
    return next((domain, console) for start, domain, console in _DOMAINS if region.startswith(start))
