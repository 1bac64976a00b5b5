"""The keeper: which certificate a service shows, and whose certificates it takes, at each moment.

A thread looks at the files every `reload_s`. When they have changed it waits until they have been at rest for a second, since
they may be written one after the other, reads all of them, and checks them (`outboard.tls.pairs`). What is whole and valid is in
force for every handshake from then on; connections that stand are left alone, until they reach their largest age
(`max_connection_age_s`). What is not is told, counted, and looked at again; the last good files stay in force, also beyond their
own time, and the service serves.

A thread of its own watches, and not the event loop, because a loop that somebody blocks must not let a certificate expire. gRPC
takes a new certificate over as `exchange` lets it.

A client that comes again may resume its session, and then nobody looks at its certificate, which may have expired. gRPC has no
switch for that; but sessions end with the configuration that they began under, so where certificates are required there is a new
one every hour, of the same files.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Final

import grpc
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from outboard.files import Watched, stamp
from outboard.host.logs import TaskLog
from outboard.service.tls.contexts import FrontContext, made_of
from outboard.service.tls.exchange import Exchange
from outboard.service.tls.settings import SECTION, TlsSettings
from outboard.tls.pairs import Authorities, Pair, read_authorities, read_pair

_REST_S: Final = 1.0
"""How long files must be left alone before they are read."""
_RESUMED_S: Final = 3600.0
"""How long a session may be resumed at most, where certificates are required."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Material:
    """What the files hold.

    Attributes:
        context: The pair as OpenSSL took it, where an HTTP port needs it.
    """

    pair: Pair
    authorities: Authorities | None = None
    context: ssl.SSLContext | None = field(default=None, compare=False, repr=False)


class TlsKeeper:
    """Certificates of one service, read and checked; kept up to date from `start` to `close`.

    Args:
        settings: What the operator decided.

    Attributes:
        handshakes: How many began at the gRPC port.
        problem: Why the files as they are now are not in force; empty where they are.

    Raises:
        InvalidSettings: The files are no certificate, key and authorities to serve with; it names the setting.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self.settings = settings
        self.problem = ""
        self._log = TaskLog()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._front: FrontContext | None = None
        self.handshakes = 0
        self._taken = self._refused = 0
        self._warned = ""
        self._seen = stamp(settings.files)
        self._files = Watched(settings.files, self._read, again_s=0.0)
        self._exchange = Exchange(settings.handshake_s)
        self._given: _Material | None = None
        self._given_at = time.monotonic()
        self._is_told = True
        self._renewing = threading.Lock()

    @property
    def pair(self) -> Pair:
        """The certificate in force."""
        return self._wanted.pair

    @property
    def _wanted(self) -> _Material:
        return self._files.value

    def start(self) -> None:
        """Watch the files."""
        REGISTRY.register(self)
        self._log.info(
            "tls is on",
            names=list(self.pair.names),
            expires=_spelled(self.pair.expires_at),
            client_certificates="required" if self.settings.asks_clients else "not asked for",
        )
        self.warn(datetime.now(timezone.utc))
        self._thread = threading.Thread(target=self._watch, name="outboard-tls", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Watch no more; what was given out stays usable."""
        self._ended.set()
        thread, self._thread = self._thread, None
        if thread is None:
            self._exchange.close()
        else:
            thread.join(_REST_S)  # it may wait for an answer of its own port; it is a daemon, and cleans up
            REGISTRY.unregister(self)

    def grpc_credentials(self) -> Any:
        """Return what a gRPC port needs; once per keeper, since gRPC is told of each change once."""
        self._given = self._wanted
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._wanted), self._handshake, self.settings.asks_clients
        )

    def listens(self, host: str, port: int) -> None:
        """Learn where gRPC listens with these credentials; nothing is exchanged before."""
        self._exchange.listens(host, port)

    def leaves(self) -> None:
        """Exchange nothing any more, since nobody listens."""
        self._exchange.leaves()

    def http_context(self) -> ssl.SSLContext:
        """Return the context of HTTP ports: its certificate is the one in force at each handshake, and it asks for none."""
        with self._renewing:
            if self._front is None:
                self._front = FrontContext(made_of(self.pair))
            return self._front.front

    def look(self) -> bool:
        """Look at the files once; tell whether they have changed and are to be looked at again soon."""
        now = stamp(self.settings.files)
        is_moving, self._seen = now != self._seen, now  # somebody may be about to write the next one
        if not is_moving:
            with self._renewing:
                if self._files.look():
                    self._renew()
            self._tell(self._files.problem)
            self.warn(datetime.now(timezone.utc))
        has_all = self._hand_over()
        if has_all and not self._is_told:
            self._is_told = True
            expires = _spelled(self.pair.expires_at)
            self._log.info("tls certificate is renewed", names=list(self.pair.names), expires=expires)
        return is_moving or not has_all

    def _renew(self) -> None:
        self._taken += 1
        self._is_told = False
        if self._front is not None and self._wanted.context is not None:
            self._front.put(self._wanted.context)

    def _hand_over(self) -> bool:
        """Let gRPC have what is wanted, where that is due; tell whether it has it."""
        wanted, now = self._wanted, time.monotonic()
        self._exchange.let_go(now)
        if self._given is None or (wanted is self._given and self._resumable_s(now) > 0):  # None: no gRPC port
            return True
        if not self._exchange.put(_configuration(wanted)):
            return False
        self._given, self._given_at = wanted, now
        return True

    def _tell(self, problem: str) -> None:
        if problem == self.problem:
            return
        self.problem = problem
        if problem:
            self._refused += 1
            expires = _spelled(self.pair.expires_at)
            self._log.error("tls files are refused; the ones before stay in force", reason=problem, expires=expires)
        else:
            self._log.info("tls files are in order again")

    def warn(self, now: datetime) -> None:
        """Say once that a certificate should have been renewed by now, and once that it has expired."""
        pair = self.pair
        if now < pair.renewal_is_late_at:
            return
        words = "tls certificate has expired" if now >= pair.expires_at else "tls certificate expires soon"
        told = f"{words} {pair.expires_at}"
        if told != self._warned:
            self._warned = told
            log = self._log.error if now >= pair.expires_at else self._log.warning
            log(words, expires=_spelled(pair.expires_at), certificate=str(self.settings.certificate))

    def _read(self) -> _Material:
        settings = self.settings
        pair = read_pair(settings.certificate, settings.key, section=SECTION)
        authorities = None
        if settings.client_ca is not None and settings.asks_clients:
            authorities = read_authorities(settings.client_ca, field=f"{SECTION}.client_ca")
        context = made_of(pair) if self._front is not None else None
        return _Material(pair=pair, authorities=authorities, context=context)

    def _handshake(self) -> Any:
        """Return what gRPC is to take over, where there is something. In gRPC's threads; must not raise."""
        self.handshakes += 1
        return self._exchange.take()

    def _resumable_s(self, now: float) -> float:
        """Return for how long sessions may be resumed still."""
        return self._given_at + _RESUMED_S - now if self.settings.asks_clients else float("inf")

    def _watch(self) -> None:
        is_again = False
        try:
            while not self._ended.wait(self._pause_s(is_again=is_again)):
                is_again = self._look_safely()
        finally:
            self._exchange.close()

    def _pause_s(self, *, is_again: bool) -> float:
        longest_s = max(self._resumable_s(time.monotonic()), _REST_S)
        return min(self.settings.reload_s, _REST_S if is_again else longest_s)

    def _look_safely(self) -> bool:
        try:
            return self.look()
        except Exception as error:  # noqa: BLE001 - a watcher that dies would let the certificate expire
            self._tell(f"an unexpected {type(error).__name__}; please report it")
            return False

    def collect(self) -> Iterator[Metric]:
        """Give the samples, as a Prometheus collector."""
        expiry = GaugeMetricFamily(
            "outboard_tls_certificate_expiry_timestamp_seconds", "When what is in force expires.", labels=["file"]
        )
        expiry.add_metric(["certificate"], self.pair.expires_at.timestamp())
        authorities = self._wanted.authorities
        if authorities is not None:
            expiry.add_metric(["client_ca"], authorities.expires_at.timestamp())
        reloads = CounterMetricFamily(
            "outboard_tls_reloads", "Changes of the TLS files: taken, or refused.", labels=["result"]
        )
        reloads.add_metric(["taken"], self._taken)
        reloads.add_metric(["refused"], self._refused)
        held = GaugeMetricFamily(
            "outboard_tls_files_refused", "Processes that go on with older TLS files, since the present ones are wrong."
        )
        held.add_metric([], float(bool(self.problem)))
        handshakes = CounterMetricFamily(
            "outboard_tls_handshakes", "TLS handshakes that were begun with the gRPC port."
        )
        handshakes.add_metric([], self.handshakes)
        yield from (expiry, reloads, held, handshakes)

    def describe(self) -> Iterable[Metric]:
        """Claim no names: several services may be in one process."""
        return ()


def _configuration(wanted: _Material) -> Any:
    authorities = wanted.authorities.pem if wanted.authorities is not None else None
    return grpc.ssl_server_certificate_configuration([(wanted.pair.key, wanted.pair.chain)], authorities)


def _spelled(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
