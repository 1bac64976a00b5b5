"""Access: who makes a call, and whether it may.

A call is let in in three steps. *Who*: the first of bearer token, certificate that a proxy on this machine saw, client
certificate, network, anonymous; a token that is presented must be good, whatever else there is. *How much*: the caller's size,
concurrency and rate. *What*: the task type, project, domain and namespace, of the request for a task that is to be started, of
the sealed handle for a job. The first two come before a request is read; the third when it says what it is about.

Nothing of it may end a job. A token that cannot be checked because its issuer is down is UNAVAILABLE; statuses are never refused
for a limit; what operators change about rules can be tried first (`enforce: false`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from outboard.domain.handles import Handle, HandleCodec
from outboard.errors import (
    ForeignHandle,
    InvalidSettings,
    RefusedCaller,
    UnknownCaller,
    UnreadableHandle,
    UnverifiedCaller,
)
from outboard.service.access import identities
from outboard.service.access.callers import Admission, Standing
from outboard.service.access.certificates import Certificates, Expired
from outboard.service.access.keys import KeysUnknown
from outboard.service.access.refusals import Refusals, Refused
from outboard.service.access.rules import Rules, Subject, Verdict, matcher
from outboard.service.access.settings import ANONYMOUS, UNKNOWN, AccessSettings, RuleSettings
from outboard.service.access.subjects import Subjects
from outboard.service.access.tokens import StaticTokens

if TYPE_CHECKING:
    from outboard.service.access.jwts import Jwts, KeyWanted

_ISSUER_PATIENCE_S: Final = 3.0
_SHARE: Final = 0.4
_STATUS: Final = "get"
_CANCEL: Final = "delete"


class Access:
    """Decides about calls.

    Args:
        settings: What the operator decided.
        codec: Reads handles.

    Raises:
        InvalidSettings: A file with tokens or keys makes no sense, PyJWT is missing, or there are rules and no service key.
    """

    def __init__(self, settings: AccessSettings, codec: HandleCodec) -> None:
        if settings.is_binding and not codec.is_sealing:
            raise InvalidSettings(
                "service.access has rules, and without a service key anybody can write the handles that they go by; "
                "set host.service_keys",
                field="service.access",
            )
        self._codec = codec
        self._is_binding = settings.is_binding
        self._enforces = settings.enforce
        self.is_metadata_open = settings.metadata == "anyone"
        self._standings = {name: Standing(name, each) for name, each in settings.callers.items()}
        self._anonymous = None if settings.anonymous is None else Standing(ANONYMOUS, settings.anonymous)
        self._free = Standing(UNKNOWN, RuleSettings())
        self._tokens = _static_tokens(settings)
        self._jwts = _jwts(settings)
        self._proxy = settings.proxy
        self._is_proxy = identities.within(() if self._proxy is None else self._proxy.networks)
        self._certificates = [
            (matcher([identities.spelled(pattern) for pattern in each.certificate]), self._standings[name])
            for name, each in settings.callers.items()
            if each.certificate
        ]
        self._networks = [
            (identities.within(each.networks), self._standings[name])
            for name, each in settings.callers.items()
            if each.networks
        ]
        self._takes_tokens = self._tokens is not None or self._jwts is not None
        self._shown = Certificates()
        self._known_names: dict[tuple[str, ...], Standing | None] = {}
        self._subjects = Subjects()
        self._refusals = Refusals()

    def start(self) -> None:
        """Ask issuers for their keys, behind everything else."""
        if self._jwts is not None:
            for keys in self._jwts.keys.values():
                keys.begin()

    async def close(self) -> None:
        """Give up what is being asked."""
        if self._jwts is not None:
            await asyncio.gather(*(keys.close() for keys in self._jwts.keys.values()))

    async def admit(self, context: Any, operation: str, size_bytes: int = 0) -> Admission:
        """Let a call in as far as its caller goes.

        Args:
            context: gRPC's, of the call.
            operation: What it is, as in metrics: `get`, `create`, ...
            size_bytes: Of its request, as far as that has come.

        Raises:
            Refused: Nobody knows its caller, or it asks for too much.
        """
        standing = await self._standing(context)
        if not self._enforces:
            standing.count()
            return Admission(standing)
        limits = standing.limits
        limits.check_size(size_bytes)
        is_over = False
        if operation == _STATUS:
            is_over = limits.is_full or limits.is_spent
            limits.spend()
        else:
            limits.check_room()
        admission = Admission(standing, is_over=is_over)
        try:
            if operation not in (_STATUS, _CANCEL):
                await limits.turn(context.time_remaining())
        except BaseException:
            admission.release()
            raise
        standing.count()
        return admission

    def check_size(self, call: Any, size_bytes: int) -> None:
        """Refuse a request that came in parts, and is larger than its caller's may be."""
        if self._enforces:
            call.admission.standing.limits.check_size(size_bytes)

    def recalls(self, context: Any, subject: Subject | None) -> bool:
        """Tell whether a status may be told from memory; where not, `admit` and `judge_handle` say why.

        Args:
            context: gRPC's, of the call.
            subject: What the handle binds, as `judge_handle` returned it.
        """
        try:
            standing = self._found(context)
        except Exception:  # noqa: BLE001 - `admit` meets it again, and answers with it
            return False
        rules = standing.rules
        if rules.is_binding and (subject is None or rules.judge_again(subject) is not None):
            return False
        standing.count()
        return True

    def judge_task(self, call: Any, subject: Subject, output_prefix: str, *, keeps_native: bool) -> None:
        """Refuse a task that its caller may not have started.

        Args:
            call: The call that was admitted.
            subject: What its request says.
            output_prefix: Where it wants its outputs.
            keeps_native: Its handle would be a connector's own, which binds nothing.

        Raises:
            Refused: It may not.
        """
        rules = call.admission.standing.rules
        verdict = rules.judge(subject) or rules.judge_prefix(subject, output_prefix)
        if verdict is None and keeps_native and rules.is_scoped:
            verdict = Verdict("handle", _NATIVE.format(caller=call.admission.standing.name))
        if verdict is not None:
            self._refuse(call, verdict)

    def judge_handle(self, call: Any, handle: bytes, task_type: str, *, is_status: bool = False) -> Subject | None:
        """Refuse a job that its caller may not see, and return what its handle binds; None where it binds nothing.

        Args:
            call: The call that was admitted.
            handle: As it came.
            task_type: As the request names it; it counts for a hosted connector's own bytes alone.
            is_status: A handle that only another replica reads is let through: a status of it tells nothing, and an error would
                be counted against the job.

        Raises:
            Refused: It may not, or the bytes do not say whose job it is.
            UnreadableHandle: Another replica may read it.
        """
        if not self._is_binding:
            return None
        rules = call.admission.standing.rules
        subject = self._subjects.find(handle)
        if subject is None:
            try:
                found = self._codec.decode(handle)
            except UnreadableHandle:
                if is_status or not rules.is_binding:
                    return None
                raise
            except ForeignHandle:
                self._judge_foreign(call, rules, task_type)
                return None
            if not self._codec.is_sealed(handle):
                if rules.is_binding:
                    self._refuse(call, Verdict("handle", _CLEAR.format(caller=call.admission.standing.name)))
                return None
            subject = self._subjects.keep(handle, _subject_of(found))
        if (verdict := rules.judge_again(subject)) is not None:
            self._refuse(call, verdict)
        return subject

    def refused(self, refused: Refused, context: Any, method: str, identity: Mapping[str, Any]) -> None:
        """Count and log a refusal."""
        self._refusals.tell(refused, method=method, peer=context.peer(), identity=identity, is_enforced=True)

    def _judge_foreign(self, call: Any, rules: Rules, task_type: str) -> None:
        """Judge bytes that are no handle of ours: of a hosted connector, by the task type that says who reads them."""
        name = call.admission.standing.name
        if rules.is_scoped:
            self._refuse(call, Verdict("handle", _FOREIGN.format(caller=name)))
        elif rules.is_binding and (verdict := rules.judge(Subject(task_type, "", "", ""))) is not None:
            self._refuse(call, verdict)

    def _refuse(self, call: Any, verdict: Verdict) -> None:
        refused = Refused(RefusedCaller(verdict.message), verdict.reason, call.admission.standing.name)
        if self._enforces:
            raise refused
        self._tell_unenforced(refused, call.context, call.operation)

    def _tell_unenforced(self, refused: Refused, context: Any, method: str) -> None:
        self._refusals.tell(refused, method=method, peer=context.peer(), identity={}, is_enforced=False)

    async def _standing(self, context: Any) -> Standing:
        try:
            return await self._asked(context)
        except Refused as refused:
            if self._enforces:
                raise
            self._tell_unenforced(refused, context, "")
            return self._free

    async def _asked(self, context: Any) -> Standing:
        if self._jwts is None:
            return self._found(context)
        from outboard.service.access.jwts import KeyWanted  # noqa: PLC0415 - see `_jwts`

        try:
            return self._found(context)
        except KeyWanted as wanted:
            return self._found(context, await self._keys(wanted, context))

    async def _keys(self, wanted: KeyWanted, context: Any) -> Mapping[str, Any]:
        left_s = context.time_remaining()
        patience_s = _ISSUER_PATIENCE_S if left_s is None else min(_ISSUER_PATIENCE_S, left_s * _SHARE)
        try:
            return {wanted.keys.issuer: await wanted.keys.ask(wanted.kid, patience_s)}
        except KeysUnknown as unknown:
            words = (
                "the token cannot be checked now, for its issuer does not say its keys; "
                f"ask again in {unknown.wait_s:.0f} s"
            )
            error = UnverifiedCaller(words, retry_after=timedelta(seconds=unknown.wait_s))
            raise Refused(error, "issuer_down", UNKNOWN, f"token of {wanted.keys.issuer}") from None

    def _found(self, context: Any, keys_of: Mapping[str, Any] | None = None) -> Standing:
        metadata = identities.metadata_of(context) if self._takes_tokens or self._proxy is not None else ()
        try:
            token = identities.bearer(metadata) if self._takes_tokens else None
            if token is not None:
                return self._of_token(token, keys_of)
            names = self._forwarded(context, metadata)
        except identities.Ambiguous:
            raise _unknown("ambiguous", "the call shows two identities; send one", "two identities") from None
        if not names and self._certificates:
            names = self._certified(context)
        if names and (standing := self._of_names(names)) is not None:
            return standing
        if self._networks and (address := identities.address_of(context.peer())) is not None:
            for is_within, standing in self._networks:
                if is_within(address):
                    return standing
        if self._anonymous is not None:
            return self._anonymous
        if names:
            words = "no caller of access.callers has this client certificate; add one, or use another certificate"
            raise _unknown("certificate", words, identities.shown(names))
        raise _unknown("no_credentials", "the call does not say who makes it; send a caller's token or certificate", "")

    def _of_token(self, token: str, keys_of: Mapping[str, Any] | None) -> Standing:
        name = self._tokens.find(token) if self._tokens is not None else None
        if name is not None:
            return self._standings[name]
        if self._jwts is None:
            raise _unknown("token", "the bearer token is none that is known here; send a caller's own", "token")
        from outboard.service.access.jwts import WrongToken  # noqa: PLC0415 - see `_jwts`

        try:
            return self._standings[self._jwts.find(token, keys_of)]
        except WrongToken as wrong:
            raise _unknown(wrong.reason, wrong.message, "token") from None

    def _forwarded(self, context: Any, metadata: Any) -> tuple[str, ...]:
        """Return what a proxy on this machine says of a client certificate."""
        if self._proxy is None:
            return ()
        peer = context.peer()
        address = identities.address_of(peer)
        if not (peer.startswith("unix:") if address is None else self._is_proxy(address)):
            return ()
        return identities.forwarded_names(metadata, self._proxy.header)

    def _certified(self, context: Any) -> tuple[str, ...]:
        """Return what the client certificate says; raise `Refused` for one whose time is over."""
        try:
            return self._shown.names(context.auth_context())
        except Expired as expired:
            words = "the client certificate has expired; connect with a new one"
            raise _unknown("certificate_expired", words, identities.shown(expired.names)) from None

    def _of_names(self, names: tuple[str, ...]) -> Standing | None:
        try:
            return self._known_names[names]
        except KeyError:
            if len(self._known_names) >= _NAMES:
                self._known_names.clear()
            found = next((each for fits, each in self._certificates if any(map(fits, names))), None)
            self._known_names[names] = found
            return found


_NAMES: Final = 4096
_FOREIGN: Final = (
    "these bytes do not say whose job they are, and caller {caller} may only see some; "
    "pass the resource_meta of CreateTask unchanged"
)
_CLEAR: Final = (
    "this handle is not sealed, so anybody may have written it, and caller {caller} may only see some jobs; "
    "pass a handle that was made since there is a service key"
)
_NATIVE: Final = (
    "handles of hosted connectors do not say whose job they are, and caller {caller} may only see some; "
    "let it call a service of its own, or drop projects, domains, namespaces and output_prefixes"
)


def _unknown(reason: str, message: str, presented: str) -> Refused:
    return Refused(UnknownCaller(message), reason, UNKNOWN, presented)


def _subject_of(handle: Handle) -> Subject:
    return Subject(handle.task_type, handle.scope.project, handle.scope.domain, handle.scope.namespace)


def _static_tokens(settings: AccessSettings) -> StaticTokens | None:
    known = {name: each for name, each in settings.callers.items() if each.token_file or each.token_sha256}
    return StaticTokens(known) if known else None


def _jwts(settings: AccessSettings) -> Jwts | None:
    if not settings.used_issuers:
        return None
    from outboard.service.access.jwts import Jwts  # noqa: PLC0415 - only who takes tokens of an issuer pays for it

    return Jwts(settings)
