"""A draft as what is handed to Kubernetes: plain YAML, Helm values, or a ConfigMap."""

from __future__ import annotations

import textwrap
from enum import Enum

from outboard.engine.propeller.draft import Engine


class Form(Enum):
    """Where a draft is to go."""

    YAML = "yaml"
    HELM = "helm"
    HELM_CORE = "helm-core"
    CONFIGMAP = "configmap"


def pack(text: str, form: Form, engine: Engine) -> str:
    """Return a draft in a form, with a comment on what to do with it."""
    if form is Form.CONFIGMAP:
        head = """\
            # kubectl apply -n flyte -f this; then mount it beside the engine's other files, last by name: in the chart
            # flyte-binary by `configuration.inlineConfigMap: outboard-flyte-config`. The engine reads it when it starts.
            apiVersion: v1
            kind: ConfigMap
            metadata:
              name: outboard-flyte-config
            data:
              110-outboard.yaml: |
            """
        return textwrap.dedent(head) + textwrap.indent(text, "    ")
    if form is Form.HELM:
        which = "Flyte 2" if engine is Engine.FLYTE_2 else "Flyte 1"
        head = f"# Values of the chart flyte-binary of {which}: helm upgrade --reuse-values -f this\n"
        if engine is Engine.FLYTE_2:
            head += "# (`configuration.connectorService` is read by no template of that chart; `inline` is.)\n"
        return f"{head}configuration:\n  inline:\n" + textwrap.indent(text, "    ")
    if form is Form.HELM_CORE:
        return _helm_core(text)
    return text


def _helm_core(text: str) -> str:
    """Return values of flyte-core, which has one file per subject and joins them."""
    head = "# Values of the chart flyte-core of Flyte 1: helm upgrade --reuse-values -f this\n"
    places = {"plugins:": "k8s", "tasks:": "enabled_plugins", "propeller:": "core"}
    lines = ["configmap:"]
    for line in text.splitlines():
        if line in places:
            lines.append(f"  {places[line]}:")
        lines.append(f"    {line}")
    return head + "\n".join(lines) + "\n"
