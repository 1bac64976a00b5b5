"""The files platform as the host sees it.

Every poke is one request to the store for a file that is there, two for one that is not, and one per thousand names
for a glob or a folder. Stores have no quota worth counting: S3 serves 5,500 reads a second for a prefix
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

from outboard.agent import AccountContext, Agent, Connection, Platform, Secrets
from outboard.agent.http import Http
from outboard.platforms.files.addresses import parse_address
from outboard.platforms.files.sensors import FileSensor, FlytekitFileSensor
from outboard.platforms.files.settings import FilesSettings
from outboard.platforms.files.stores import FileStores


class Files(Platform[Connection, FileStores]):
    """Waits for files.

    Args:
        settings: See `FilesSettings`.

    >>> [agent.name for agent in Files().agents()]
    ['file_sensor', 'flytekit_file_sensor']
    """

    name = "files"
    settings_model = FilesSettings

    def __init__(self, settings: FilesSettings | None = None) -> None:
        self.options = settings if settings is not None else FilesSettings()
        super().__init__(self.options)

    def agents(self) -> Sequence[Agent]:
        """Return the sensors."""
        return FileSensor(self, self.options), FlytekitFileSensor(self, self.options)

    def open(
        self,
        connection: Connection,  # noqa: ARG002 - the address says where
        secrets: Secrets,  # noqa: ARG002 - credentials are the environment's
        http: Http,  # noqa: ARG002 - obstore speaks for itself
    ) -> AbstractAsyncContextManager[FileStores]:
        """Return the stores; each bucket is opened when it is first looked at."""
        return nullcontext(FileStores())

    async def ping(self, ctx: AccountContext[FileStores]) -> str:
        """Look into every place of `roots`, side by side: one request for each bucket, a listing of one folder's names."""
        roots = self.options.roots
        if not roots:
            return "no place is named" if roots is None else "sensors may look nowhere"
        await asyncio.gather(*(ctx.client.look_into(parse_address(f"{root.rstrip('/')}/")) for root in roots))
        return f"can be looked into: {', '.join(roots)}"

    def account(self, connection: Connection) -> str:  # noqa: ARG002 - see above
        """Return the one account: the service's own credentials."""
        return "files"
