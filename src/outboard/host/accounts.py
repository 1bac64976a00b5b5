"""Accounts: whether each platform account answers, as every call to it tells.

A platform that cannot be asked fails no task, so it must show elsewhere: here, and from here in metrics, health and one
log line per change. `Calls` and `Clients` say what came of every call; nothing here asks by itself. The rules:

* a result is an answer, and so is a refusal that carries the platform's own word (`Rejected`, `Throttled`, an unlisted
  code); `Unavailable` is none; `Unauthorized`, `Forbidden` and a missing secret say that our credentials are no good;
* what an agent, this process or its budget brought about tells nothing of the account;
* one failure changes nothing: an account is unreachable when a call fails `unreachable_after` after the first of an
  unbroken row of failures, refused the same way after `unauthorized_after`. Only a good answer ends either: one 401 in
  the middle of an outage is no recovery;
* while nobody asks nothing is known: the last truth stands, with its age, and after half an hour it is forgotten.

Tasks may name ever new accounts, so the number of entries is bounded: those asked longest ago go first, healthy before
lost ones. Everything happens in the loop's thread; a good answer of a good account costs a look-up and two stores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Final

from outboard.errors import (
    AgentError,
    Forbidden,
    MissingSecret,
    OutboardError,
    Rejected,
    SecretsUnavailable,
    Throttled,
    Unauthorized,
    Unavailable,
)
from outboard.host.account_metrics import AccountSample, expose
from outboard.host.labels import MOST_LABELS, OTHER, is_fit
from outboard.host.logs import TaskLog
from outboard.host.settings import HostSettings
from outboard.host.words import Words

AccountKey = tuple[str, str]
"""Platform and account."""

_MOST: Final = 1_000
_WORDS_CHARACTERS: Final = 256
_FORGOTTEN_S: Final = 1_800.0
_SWEEP_S: Final = 60.0
_FEWEST_FAILURES: Final = 2


class Reach(str, Enum):
    """Whether an account can be used from here."""

    UNKNOWN = "unknown"
    REACHABLE = "reachable"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"

    @property
    def is_lost(self) -> bool:
        """Whether somebody should look."""
        return self in (Reach.UNREACHABLE, Reach.REFUSED)


class Outcome(str, Enum):
    """What a call tells of its account."""

    ANSWERED = "answered"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    THROTTLED = "throttled"


def outcome_of(error: OutboardError) -> Outcome | None:
    """Return what a failed call tells of the account; None when it tells nothing."""
    if isinstance(error, SecretsUnavailable):
        return None  # the platform was not even asked
    if isinstance(error, Unavailable):
        return Outcome.UNREACHABLE
    if isinstance(error, (Unauthorized, Forbidden, MissingSecret)):
        return Outcome.REFUSED
    # Our own budget says `Throttled` too, and agents refuse by themselves: only the platform's code, or what its client
    # raised, proves that it was the platform. A plain `AgentError` may also be a slip of the agent's code.
    if isinstance(error, (Throttled, Rejected)) and (error.platform_code is not None or error.__cause__ is not None):
        return Outcome.THROTTLED if isinstance(error, Throttled) else Outcome.ANSWERED
    return Outcome.ANSWERED if isinstance(error, AgentError) and error.platform_code is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountReport:
    """What is known of an account, for people.

    Attributes:
        reach: Whether it can be used, as of `asked_at`.
        asked_at: When it was asked last, in UTC: how old this knowledge is.
        answered_at: When it gave its last good answer; None if it never did.
        silent_for: How long it has left every call unanswered, as far as it was asked.
        failures: Calls without a good answer since the last one.
        throttled: Calls that it answered with "slow down".
        error: The kind of the last failure, as long as there are `failures`.
        words: Its words, without secrets, at most 256 characters.
    """

    platform: str
    account: str
    reach: Reach
    asked_at: datetime
    answered_at: datetime | None
    silent_for: timedelta
    failures: int
    throttled: int
    error: str
    words: str


@dataclass(slots=True)
class _Row:
    """Failures of one kind with nothing better in between."""

    since: float
    calls: int = 0

    def is_telling(self, now: float, patience_s: float) -> bool:
        return self.calls >= _FEWEST_FAILURES and now - self.since >= patience_s


class _Entry:
    __slots__ = (
        "answered_at", "answers", "error", "failed_at", "failures", "label", "lost_since", "others", "reach", "refusals",
        "silence", "words",
    )  # fmt: skip

    def __init__(self, label: str | None) -> None:
        self.label = label
        self.answers = 0
        self.others = {Outcome.UNREACHABLE: 0, Outcome.REFUSED: 0, Outcome.THROTTLED: 0}
        self.answered_at: float | None = None
        self.failed_at: float | None = None
        self.renew()

    def renew(self) -> None:
        """Forget all but the counts."""
        self.reach = Reach.UNKNOWN
        self.silence: _Row | None = None
        self.refusals: _Row | None = None
        self.lost_since = 0.0
        self.clear()

    def clear(self) -> None:
        """Take note of a good answer."""
        self.silence = self.refusals = None
        self.failures = 0
        self.error = self.words = ""

    @property
    def asked_at(self) -> float:
        return max(self.answered_at or 0.0, self.failed_at or 0.0)

    @property
    def silent_s(self) -> float:
        return 0.0 if self.silence is None or self.failed_at is None else self.failed_at - self.silence.since

    def calls(self) -> Mapping[str, int]:
        return {Outcome.ANSWERED.value: self.answers, **{outcome.value: n for outcome, n in self.others.items()}}


class Accounts:
    """What every call told of its account.

    Args:
        settings: Says how long failures may go on.
        words: Makes the platforms' words fit to be shown.
    """

    def __init__(self, settings: HostSettings, words: Words) -> None:
        self._unreachable_s = settings.unreachable_after.total_seconds()
        self._unauthorized_s = settings.unauthorized_after.total_seconds()
        self._words = words
        self._entries: dict[AccountKey, _Entry] = {}
        self._labels = 0
        self._unlabelled: dict[str, dict[str, int]] = {}
        self._swept_at = time.monotonic()
        self._listeners: set[Callable[[], None]] = set()
        expose(self)

    def __len__(self) -> int:
        return len(self._entries)

    def answered(self, key: AccountKey) -> None:
        """Take note of a good answer."""
        entry = self._entries.get(key)
        if entry is None:
            entry = self._begin(key)
        entry.answers += 1
        entry.answered_at = time.monotonic()
        if entry.failures or entry.reach is not Reach.REACHABLE:
            entry.clear()
            self._move(key, entry, Reach.REACHABLE)

    def failed(self, key: AccountKey, error: OutboardError) -> None:
        """Take note of a call that raised `error`, whatever that tells."""
        outcome = outcome_of(error)
        if outcome is None:
            return
        if outcome is Outcome.ANSWERED:
            self.answered(key)
            return
        entry = self._entries.get(key) or self._begin(key)
        now = time.monotonic()
        if now - entry.asked_at > _FORGOTTEN_S:
            entry.renew()
        entry.others[outcome] += 1
        entry.failed_at = now
        entry.failures += 1
        entry.error, entry.words = error.code, self._words.text(error.message, _WORDS_CHARACTERS)
        self._move(key, entry, self._judge(entry, outcome, now))

    def find(self, platform: str, account: str) -> AccountReport | None:
        """Return what is known of an account; None if nothing is."""
        entry = self._entries.get((platform, account))
        now = time.monotonic()
        if entry is None or now - entry.asked_at > _FORGOTTEN_S:
            return None
        return _report((platform, account), entry, now)

    def is_lost(self, platform: str, account: str) -> bool:
        """Tell whether an account has been unreachable or refusing us for long enough to say so."""
        entry = self._entries.get((platform, account))
        return entry is not None and entry.reach.is_lost and time.monotonic() - entry.asked_at <= _FORGOTTEN_S

    def reports(self) -> Sequence[AccountReport]:
        """Return what is known of all accounts, by platform and account."""
        now = time.monotonic()
        known = sorted((key, entry) for key, entry in self._entries.items() if now - entry.asked_at <= _FORGOTTEN_S)
        return [_report(key, entry, now) for key, entry in known]

    @contextmanager
    def listening(self, told: Callable[[], None]) -> Iterator[None]:
        """Call `told` whenever an account's reach changed, as long as the block lasts."""
        self._listeners.add(told)
        try:
            yield
        finally:
            self._listeners.discard(told)

    def samples(self) -> Sequence[AccountSample]:
        """Return what the metrics say; called from the scraper's thread."""
        now = time.monotonic()
        samples = [
            AccountSample(platform=platform, account=OTHER, is_reachable=None, silent_s=0.0, calls=dict(calls))
            for platform, calls in list(self._unlabelled.items())
        ]
        for (platform, _), entry in list(self._entries.items()):
            is_known = entry.reach is not Reach.UNKNOWN and now - entry.asked_at <= _FORGOTTEN_S
            samples.append(
                AccountSample(
                    platform=platform,
                    account=OTHER if entry.label is None else entry.label,
                    is_reachable=not entry.reach.is_lost if is_known else None,
                    silent_s=entry.silent_s if is_known else 0.0,
                    calls=entry.calls(),
                )
            )
        return samples

    def _judge(self, entry: _Entry, outcome: Outcome, now: float) -> Reach:
        if outcome is Outcome.UNREACHABLE:
            entry.silence = _counted(entry.silence, now)
            is_told = entry.silence.is_telling(now, self._unreachable_s)
            return Reach.UNREACHABLE if is_told else entry.reach
        entry.silence = None
        if outcome is Outcome.REFUSED:
            entry.refusals = _counted(entry.refusals, now)
            return Reach.REFUSED if entry.refusals.is_telling(now, self._unauthorized_s) else entry.reach
        # "Slow down" proves that somebody is there, and nothing about credentials.
        return entry.reach if entry.reach is Reach.REFUSED else Reach.REACHABLE

    def _move(self, key: AccountKey, entry: _Entry, reach: Reach) -> None:
        before = entry.reach
        if reach is before:
            return
        entry.reach = reach
        log = TaskLog(self._words.text, platform=key[0], account=key[1])
        now = time.monotonic()
        if reach.is_lost:
            row = entry.silence if reach is Reach.UNREACHABLE else entry.refusals
            if not before.is_lost:
                entry.lost_since = now if row is None else row.since
            event = "account unreachable" if reach is Reach.UNREACHABLE else "account refuses its credentials"
            seconds = round(now - entry.lost_since)
            log.warning(event, seconds=seconds, calls=entry.failures, error=entry.error, reason=entry.words)
        elif before.is_lost:
            # As loud as what it takes back: whoever saw that must not miss this.
            log.warning("account answers again", seconds=round(now - entry.lost_since), was=before.value)
        self._tell()

    def _tell(self) -> None:
        for told in tuple(self._listeners):
            told()

    def _begin(self, key: AccountKey) -> _Entry:
        self._make_room()
        account = key[1]
        label = account if self._labels < MOST_LABELS and is_fit(account, self._words.text) else None
        self._labels += label is not None
        entry = self._entries[key] = _Entry(label)
        return entry

    def _make_room(self) -> None:
        now = time.monotonic()
        is_full = len(self._entries) >= _MOST
        if not is_full and now - self._swept_at < _SWEEP_S:
            return
        self._swept_at = now
        for key in [key for key, entry in self._entries.items() if now - entry.asked_at > _FORGOTTEN_S]:
            self._forget(key)
        if len(self._entries) >= _MOST:
            by_worth = sorted(
                self._entries, key=lambda key: (self._entries[key].reach.is_lost, self._entries[key].asked_at)
            )
            for key in by_worth[: _MOST // 10]:
                self._forget(key)
        self._tell()

    def _forget(self, key: AccountKey) -> None:
        entry = self._entries.pop(key)
        if entry.label is not None:
            self._labels -= 1
            return
        # Counters must not go down, so what was counted under the shared label stays.
        sums = self._unlabelled.setdefault(key[0], {})
        for outcome, count in entry.calls().items():
            sums[outcome] = sums.get(outcome, 0) + count


def _counted(row: _Row | None, now: float) -> _Row:
    row = row or _Row(now)
    row.calls += 1
    return row


def _report(key: AccountKey, entry: _Entry, now: float) -> AccountReport:
    def wall(at: float) -> datetime:
        return datetime.fromtimestamp(time.time() - (now - at), timezone.utc)

    return AccountReport(
        platform=key[0],
        account=key[1],
        reach=entry.reach,
        asked_at=wall(entry.asked_at),
        answered_at=None if entry.answered_at is None else wall(entry.answered_at),
        silent_for=timedelta(seconds=entry.silent_s),
        failures=entry.failures,
        throttled=entry.others[Outcome.THROTTLED],
        error=entry.error,
        words=entry.words,
    )
