"""Signature Version 4, by botocore: what proves to AWS who calls.

Signing is arithmetic and takes a tenth of a millisecond, so it runs on the event loop; botocore itself is loaded in a thread
when a client is opened (`load`).
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from outboard.errors import Unauthorized
from outboard.platforms.athena.credentials import Keys


async def load() -> Any:
    """Load botocore's signer off the event loop.

    Raises:
        Unauthorized: botocore is not installed.
    """
    if "botocore.auth" in sys.modules:
        return _signer()
    try:
        return await asyncio.to_thread(_signer)
    except ImportError as error:
        raise Unauthorized(f"Athena needs {error.name}; install outboard[athena]") from error


def signed_headers(url: str, body: bytes, headers: dict[str, str], keys: Keys, region: str) -> dict[str, str]:
    """Return the headers of a POST to Athena with its signature, and the session token where the keys have one."""
    request_class, credentials_class, signer_class = _signer()
    request = request_class(method="POST", url=f"{url}/", data=body, headers=headers)
    signer_class(credentials_class(keys.key_id, keys.secret, keys.token or None), "athena", region).add_auth(request)
    return {str(name): str(value) for name, value in request.headers.items()}


def _signer() -> tuple[Any, Any, Any]:
    from botocore.auth import SigV4Auth  # noqa: PLC0415 - an extra, and slow to load: see `load`
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - same
    from botocore.credentials import Credentials  # noqa: PLC0415 - same

    return AWSRequest, Credentials, SigV4Auth
