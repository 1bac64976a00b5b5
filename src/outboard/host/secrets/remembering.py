"""What remote stores said, remembered: asked for once at a time, asked for again behind those who use it, kept through an outage.

A value is *fresh* until it is to be asked for again, and *usable* for longer: while it is usable and no longer fresh, callers get
it at once and one question goes on behind them. A store that does not answer costs nobody anything until its values are no longer
usable: `outlive` after they were due, or at the end of a lifetime that the store itself gave them. What is not there is
believed for a short time only, and never through an outage. "Not there" and "not allowed" are a store's own word, so they
take a value away; a login that is refused is an outage.

Whoever was refused by a platform asks past the memory: only what was read after the refusal will do.

Everything happens in the loop's thread, apart from `ages`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from outboard.errors import AgentError, Forbidden, SecretsUnavailable, Throttled, Unauthorized
from outboard.host.invocation import deadline
from outboard.host.logs import TaskLog
from outboard.host.secrets.meters import LOOKUPS, SECONDS, expose
from outboard.host.secrets.ports import Document, SecretStore
from outboard.host.store_settings import RemoteStore

_MOST: Final = 4_096
_AT_ONCE: Final = 16
"""Tasks name documents, and could ask for thousands."""
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_LONGEST_MARGIN_S: Final = 60.0
_IN_USE_S: Final = 600.0
_WORDS_CHARACTERS: Final = 200


class _Entry:
    """What is known of one document. Times are monotonic; `asked_at` is that of the question under way, see `ask`."""

    __slots__ = (
        "asked_at", "denied", "document", "error", "failures", "flight", "fresh_until", "read_at", "retry_at", "usable_until",
        "used_at",
    )  # fmt: skip

    def __init__(self) -> None:
        self.document: Document | None = None
        self.denied = False
        self.asked_at = float("inf")
        self.read_at = float("-inf")
        self.fresh_until = self.usable_until = self.retry_at = float("-inf")
        self.used_at = time.monotonic()
        self.error: AgentError | None = None
        self.failures = 0
        self.flight: asyncio.Task[None] | None = None


class Remembered:
    """A remote store with a memory.

    Args:
        store: What is asked.
        settings: Its times.
        words: Makes an error's text fit to be shown.

    Attributes:
        name: What logs and metrics call it.
    """

    def __init__(self, store: SecretStore, settings: RemoteStore, name: str, words: Callable[[str], str]) -> None:
        self.name = name
        self.store = store
        self._words = words
        self._timeout_s = settings.timeout.total_seconds()
        self._refresh_s = settings.refresh.total_seconds()
        self._outlive_s = settings.outlive.total_seconds()
        self._absent_s = settings.absent.total_seconds()
        self._entries: dict[str, _Entry] = {}
        self._seats = asyncio.Semaphore(_AT_ONCE)
        self._silent_since: float | None = None
        self._log = TaskLog(words, store=name)
        expose(self)

    def recall(self, document: str) -> Document | None:
        """Return what is remembered; None where the document, or our right to it, is not there.

        Raises:
            SecretsUnavailable: Nobody has asked yet, or the store has been silent for too long.
        """
        entry = self._entries.get(document)
        if entry is None:
            entry = self._begin(document)
            self._ask_behind(document, entry)
            raise self._unknown(document, entry)
        return self._known(document, entry)

    async def ask(self, document: str, timeout_s: float, asked_after: float | None = None) -> Document | None:
        """Return what is remembered, or what the store says.

        Args:
            document: What.
            timeout_s: How long to wait.
            asked_after: What was read before this, in monotonic time, will not do as long as the store answers.

        Raises:
            SecretsUnavailable: The store does not say, and nothing usable is remembered.
        """
        entry = self._entries.get(document) or self._begin(document)
        now = entry.used_at = time.monotonic()
        give_up = now + timeout_s
        if asked_after is not None and entry.flight is not None and entry.asked_at <= asked_after:
            await _wait(entry.flight, give_up)  # what it brings may be what was refused
            now = time.monotonic()
        is_refused = asked_after is not None and entry.read_at <= asked_after
        if is_refused or (now >= entry.usable_until and (now >= entry.retry_at or entry.flight is not None)):
            flight = entry.flight or self._start(document, entry, is_refused=is_refused)
            await _wait(flight, give_up)
        return self._known(document, entry)

    def is_denied(self, document: str) -> bool:
        """Tell whether the store refused us this document."""
        entry = self._entries.get(document)
        return entry is not None and entry.denied

    def renew_at(self, document: str) -> float:
        """Return when whoever holds a value of limited lifetime should take the next one; infinity where it is not limited.

        That is midway between the time when the next one is asked for and the end: by then it is there.
        """
        entry = self._entries.get(document)
        if entry is None or entry.document is None or entry.document.lifetime_s is None:
            return float("inf")
        lifetime_s = entry.document.lifetime_s
        return entry.read_at + (_spend(lifetime_s) + lifetime_s) / 2

    def ages(self) -> tuple[float, float]:
        """Return the age of the oldest value in use, and for how long the store has been silent."""
        now = time.monotonic()
        used = [each for each in list(self._entries.values()) if each.document and now - each.used_at < _IN_USE_S]
        silent_since = self._silent_since
        age_s = max((now - each.read_at for each in used), default=0.0)
        return age_s, 0.0 if silent_since is None else now - silent_since

    async def close(self) -> None:
        """Stop asking."""
        flights = [each.flight for each in self._entries.values() if each.flight is not None]
        for flight in flights:
            flight.cancel()
        if flights:
            await asyncio.wait(flights)
        await self.store.close()

    def _begin(self, document: str) -> _Entry:
        if len(self._entries) >= _MOST:
            # Tasks name documents: those that are not there go first, then what was used longest ago.
            oldest = min(self._entries.items(), key=lambda item: (item[1].document is not None, item[1].used_at))
            if oldest[1].flight is None:
                del self._entries[oldest[0]]
        entry = self._entries[document] = _Entry()
        return entry

    def _known(self, document: str, entry: _Entry) -> Document | None:
        now = entry.used_at = time.monotonic()
        if now >= entry.fresh_until:
            self._ask_behind(document, entry)
        if now >= entry.usable_until:
            raise self._unknown(document, entry)
        return entry.document

    def _unknown(self, document: str, entry: _Entry) -> SecretsUnavailable:
        if entry.error is None:
            return SecretsUnavailable(f"store {self.name} has not said yet what {document} holds; ask again")
        reason = self._words(entry.error.message)[:_WORDS_CHARACTERS]
        return SecretsUnavailable(
            f"store {self.name} cannot be asked for {document} ({reason}); it is asked again until it answers",
            retry_after=entry.error.retry_after,
        )

    def _ask_behind(self, document: str, entry: _Entry) -> None:
        if entry.flight is None and time.monotonic() >= entry.retry_at and _is_in_loop():
            self._start(document, entry)

    def _start(self, document: str, entry: _Entry, *, is_refused: bool = False) -> asyncio.Task[None]:
        entry.asked_at = float("inf")
        entry.flight = asyncio.ensure_future(self._fly(document, entry, is_refused=is_refused))
        return entry.flight

    async def _fly(self, document: str, entry: _Entry, *, is_refused: bool) -> None:
        began = time.monotonic()
        try:
            async with self._seats:
                began = time.monotonic()
                if not is_refused:  # otherwise what it brings is new for all who were refused meanwhile
                    entry.asked_at = began
                async with deadline(self._timeout_s):
                    found = await self.store.fetch(document, is_refused=is_refused)
        except asyncio.CancelledError:
            raise
        except Forbidden as error:
            self._settle(document, entry, None, denial=error)
        except AgentError as error:
            self._fail(document, entry, error)
        except (asyncio.TimeoutError, TimeoutError):
            self._fail(document, entry, SecretsUnavailable(f"no answer within {self._timeout_s:g} s"))
        except Exception as error:  # noqa: BLE001 - a store's library may raise anything, and somebody waits
            self._fail(document, entry, SecretsUnavailable(f"its library raised {type(error).__name__}"))
        else:
            self._settle(document, entry, found)
        finally:
            SECONDS.labels(self.name).observe(time.monotonic() - began)
            entry.flight = None

    def _settle(self, document: str, entry: _Entry, found: Document | None, denial: Forbidden | None = None) -> None:
        LOOKUPS.labels(self.name, "denied" if denial else "absent" if found is None else "found").inc()
        if self._silent_since is not None:
            self._log.info("secret store answers again", silent_s=round(time.monotonic() - self._silent_since, 1))
            self._silent_since = None
        before, now = entry.document, time.monotonic()
        if denial is not None and not entry.denied:
            self._log.warning("secret store denies a secret", document=document, reason=denial.message)
        if before is not None and found is None:
            self._log.warning("secret is gone from its store", document=document)
        if before is not None and found is not None and before != found:
            self._log.info("secret changed in its store", document=document, version=found.version)
        entry.document, entry.denied = found, denial is not None
        entry.error, entry.failures, entry.read_at, entry.retry_at = None, 0, min(entry.asked_at, now), now
        if found is None:
            entry.fresh_until = entry.usable_until = now + self._absent_s
            return
        entry.fresh_until = now + self._refresh_s
        entry.usable_until = entry.fresh_until + self._outlive_s
        if found.lifetime_s is not None:
            entry.fresh_until = min(entry.fresh_until, now + _spend(found.lifetime_s))
            entry.usable_until = min(entry.usable_until, now + found.lifetime_s)

    def _fail(self, document: str, entry: _Entry, error: AgentError) -> None:
        outcome = {Throttled: "throttled", Unauthorized: "refused"}.get(type(error), "unavailable")
        LOOKUPS.labels(self.name, outcome).inc()
        now = time.monotonic()
        entry.error = error
        entry.failures += 1
        pause_s = min(_FIRST_PAUSE_S * 2 ** min(entry.failures - 1, 10), _LONGEST_PAUSE_S)
        entry.retry_at = now + max(pause_s, error.retry_after.total_seconds() if error.retry_after else 0.0)
        if self._silent_since is None:
            self._silent_since = now
            usable_s = max(0.0, entry.usable_until - now) if entry.document is not None else 0.0
            words = "secret store cannot be asked; what it said last is used meanwhile"
            self._log.error(
                words, document=document, error=error.code, reason=error.message, usable_s=round(usable_s, 1)
            )
        elif entry.document is not None and now >= entry.usable_until:
            self._log.error("secret given up: its store has been silent for too long", document=document)
            entry.document = None


def _spend(lifetime_s: float) -> float:
    """Return for how long a value of limited lifetime is used before the next one is fetched."""
    return lifetime_s - min(_LONGEST_MARGIN_S, lifetime_s / 3)


async def _wait(flight: asyncio.Task[None], give_up: float) -> None:
    await asyncio.wait({flight}, timeout=max(0.0, give_up - time.monotonic()))


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
