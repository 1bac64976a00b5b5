"""The host: runs agents safely, for the gRPC service and in process alike."""

from outboard.host.host import Host
from outboard.host.settings import HostSettings, SecretSettings

__all__ = ["Host", "HostSettings", "SecretSettings"]
