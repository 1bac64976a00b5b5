"""Owed cancels in the object store: who pursues which, so that another process goes on when this one ends.

A cancel that is not confirmed within some seconds is entered into a list that all replicas share (see `domain.owed` and
`owed_lists`): `<settings.records>/owed-<installation>`, or where none is configured `.outboard/owed-<installation>` in the
bucket of the task's outputs. Local paths have none: there the engine is on the same machine, and its journal repeats what
is owed.

A process learns of lists from its settings and from the handles and requests it sees, at most sixteen. Each minute it
reads every one of them (one small GET). A process that drains gives back at once what it owes; of one that was killed
the others notice its silence. Nothing breaks where the store is down: the pursuits go on, and are written down as soon as
it answers.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final
from urllib.parse import quote, urlsplit

from outboard.domain.owed import OwedCodec
from outboard.host.cancellations.owed_lists import OwedList, Pursuer
from outboard.host.stores import SCHEMES, Store, join_uri
from outboard.host.submissions.records import FOLDER

_READ_S: Final = 60.0
_MOST_LISTS: Final = 16
_NO_BUCKETS: Final = ("", "file")


class OwedCancels:
    """The cancels that this process and the other replicas owe.

    Args:
        stores: The object stores.
        codec: Seals and opens lists.
        claim: The random name of this process.
        installation: Part of the lists' names.
        records: Where all records go; empty: beside their outputs.
    """

    def __init__(self, stores: Store, codec: OwedCodec, claim: str, *, installation: str, records: str = "") -> None:
        self._stores = stores
        self._codec = codec
        self._claim = claim
        self._name = "owed-" + quote(installation, safe="", errors="surrogatepass")
        self._records = records
        self._lists: dict[str, OwedList] = {}
        self._pursuer: Pursuer | None = None
        self._reading: asyncio.Task[None] | None = None
        self._swaps: set[asyncio.Task[None]] = set()
        self._is_handing_back = False

    def report_to(self, pursuer: Pursuer) -> None:
        """Say who pursues what is taken over; before anything else."""
        self._pursuer = pursuer

    def learn(self, output_prefix: str = "") -> None:
        """Watch the list of tasks with this output prefix from now on; without one, the list of the settings."""
        if self._list(output_prefix) is None or self._reading is not None or self._is_handing_back:
            return
        reading = self._read()
        try:
            self._reading = asyncio.get_running_loop().create_task(reading)
        except RuntimeError:
            reading.close()  # no loop yet: the next call begins it

    def add(self, name: str, encoded: bytes, output_prefix: str, pursuit: asyncio.Task[None]) -> None:
        """Owe a cancel until its pursuit is over; it is entered with the next `settle` or reading."""
        owed = self._list(output_prefix)
        if owed is not None:
            owed.add(name, encoded, pursuit)

    def leave(self, name: str, encoded: bytes) -> None:
        """Leave a cancel to the other replicas: this one cannot read its handle.

        Its own list is not known then, so it goes into the one that was used last; others read that as well.
        """
        owed = self._list("") or next(reversed(self._lists.values()), None)
        if owed is not None:
            owed.add(name, encoded, None)

    async def settle(self, limit_s: float) -> None:
        """Write down what was added, as far as that can be done in time; never raises."""
        swaps = [asyncio.ensure_future(owed.swap()) for owed in self._lists.values() if owed.is_due]
        for swap in swaps:
            self._swaps.add(swap)
            swap.add_done_callback(self._swaps.discard)
        if swaps:
            await asyncio.wait(swaps, timeout=max(0.0, limit_s))  # those that take longer go on

    async def hand_back(self, limit_s: float) -> None:
        """Give back all that this process owes; nothing is read or taken over from now on."""
        self._is_handing_back = True
        if self._reading is not None:
            self._reading.cancel()
        for owed in self._lists.values():
            owed.hand_back()
        await self.settle(limit_s)

    async def close(self) -> None:
        """Read and write no more."""
        self._is_handing_back = True
        tasks = [*self._swaps, *([self._reading] if self._reading is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _list(self, output_prefix: str) -> OwedList | None:
        uri = self._uri(output_prefix)
        if uri is None or self._pursuer is None:
            return None
        owed = self._lists.pop(uri, None)
        if owed is None:
            owed = OwedList(uri, self._stores, self._codec, self._claim, self._pursuer)
            if self._is_handing_back:
                owed.hand_back()
            while len(self._lists) >= _MOST_LISTS:
                idle = next((known.uri for known in self._lists.values() if known.is_idle), None)
                del self._lists[idle or next(iter(self._lists))]
        self._lists[uri] = owed  # the one that was used last is the last
        return owed

    def _uri(self, output_prefix: str) -> str | None:
        if self._records:
            return join_uri(self._records, self._name)
        try:
            parts = urlsplit(output_prefix)
        except ValueError:
            return None  # whoever writes there will say so
        if parts.scheme in _NO_BUCKETS or parts.scheme not in SCHEMES or not parts.netloc:
            return None
        return join_uri(f"{parts.scheme}://{parts.netloc}", FOLDER, self._name)

    async def _read(self) -> None:
        pause_s = _READ_S * random.uniform(0.1, 1.0)  # noqa: S311 - replicas that start together do not read in step
        while True:
            await asyncio.sleep(pause_s)
            for owed in self._lists.values():
                owed.touch()
            await self.settle(_READ_S)
            pause_s = _READ_S * random.uniform(0.75, 1.25)  # noqa: S311 - the same
