"""`make deploy-check`: the chart, its manifests and the image, put to the tools and the service that will read them."""

from __future__ import annotations

from typing import Final

from tables.reporting import Report

REPORT: Final = Report(
    target="deploy",
    about=__doc__ or "",
    parts={
        "charts": "The chart: Helm 3, Helm 4 and the library",
        "schemas": "The manifests: Kubernetes' schemas, version by version",
        "rules": "The manifests: what no schema says",
        "served": "The manifests: the real service, told and probed as they say",
        "image": "The image: its steps, and the service as it runs in it",
        "api_server": "The manifests: a real API server",
    },
)
