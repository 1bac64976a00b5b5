"""Secrets by name, from the operator's stores, and the redactor that keeps their values from leaving.

==================  ==================================================================
`source`            where references are found: the order, the rules, what an agent is given
`rules`             which tasks may name which secrets
`ports`             what a store is
`local_stores`      overrides, the environment, files
`stores`            Kubernetes, Vault, AWS, Google, Azure: each imported where it is configured
`remembering`       what remote stores said: one question at a time, renewed behind, kept through an outage
`redactor`          no value leaves, in whatever spelling
==================  ==================================================================
"""

from outboard.host.secrets.redactor import Redactor
from outboard.host.secrets.source import BoundSecrets, Presence, SecretSource

__all__ = ["BoundSecrets", "Presence", "Redactor", "SecretSource"]
