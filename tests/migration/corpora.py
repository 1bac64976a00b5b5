"""The corpora: what each release wrote, kept for ever; and the samples that the next release adds.

`handles/<release>.json` and `records/<release>.json` hold bytes and what they mean; `SHA256SUMS` holds them to it. A release
adds its files and never changes another's::

    python tests/migration/corpora.py 0.3.0

Files that exist are left alone. Those of a release that is not out yet are deleted first, with their lines in `SHA256SUMS`.
"""

import base64
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from outboard.domain.handles import Handle, HandleCodec
from outboard.domain.identity import Scope
from outboard.domain.keys import Key
from outboard.domain.phases import Phase
from outboard.domain.records import Record, RecordCodec, Stage
from outboard.domain.seals import ServiceKey
from outboard.domain.statuses import Cause, Ending

FOLDER = Path(__file__).parent
SUMS = FOLDER / "SHA256SUMS"
SERVICE_KEY = base64.b64encode(bytes(range(32))).decode()
KEY = Key("ob-f6a2c9d1e0b74-n0-0-ipwdjnaeheqvq5gldgzgyikypq")
PREFIX = "s3://my-flyte-bucket/metadata/propeller/flytesnacks-development-f6a2c9d1e0b74/n0/data/0"


def described(value: Handle | Record) -> dict[str, Any]:
    """Return all fields of a handle or record as JSON, by name."""
    return {each.name: _json(getattr(value, each.name)) for each in fields(value)}


def defaults(kind: type[Handle] | type[Record]) -> dict[str, Any]:
    """Return what fields mean that a release did not know, by name."""
    found = {}
    for each in fields(kind):
        if each.default is not MISSING:
            found[each.name] = _json(each.default)
        elif each.default_factory is not MISSING:
            found[each.name] = _json(each.default_factory())
    return found


def cases(kind: str, release: str) -> list[dict[str, Any]]:
    """Return what a release wrote of a kind: `handles` or `records`."""
    found: list[dict[str, Any]] = json.loads((FOLDER / kind / f"{release}.json").read_text("utf-8"))
    return found


def releases(kind: str) -> list[str]:
    """Return the releases that have a corpus of a kind, the newest last."""
    return sorted((file.stem for file in (FOLDER / kind).glob("*.json")), key=numbers)


def numbers(release: str) -> tuple[int, ...]:
    """Return a release as numbers, to compare it; of a pre-release, those of its release."""
    return tuple(int("".join(filter(str.isdigit, part)) or 0) for part in release.split(".")[:3])


def keys_of(case: dict[str, Any]) -> list[ServiceKey]:
    """Return the service keys to read a case with."""
    return [ServiceKey.parse(case["service_key"])] if case["service_key"] else []


def digests() -> dict[str, str]:
    """Return the SHA-256 of every corpus file, by its path in here."""
    found = sorted(file for kind in ("handles", "records") for file in (FOLDER / kind).glob("**/*.json"))
    return {file.relative_to(FOLDER).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


def summed() -> dict[str, str]:
    """Return what `SHA256SUMS` says of every corpus file, by its path in here."""
    lines = [line.split("  ", 1) for line in SUMS.read_text("utf-8").splitlines()]
    return {path: digest for digest, path in lines}


def _json(value: Any) -> Any:
    match value:
        case Key():
            return value.text
        case Scope():
            return [value.project, value.domain, value.org, value.namespace]
        case Ending():
            return [value.phase.value, value.code, value.message, value.cause.value]
        case Stage():
            return value.value
        case bytes():
            return base64.b64encode(value).decode()
        case _:
            return value


def _handles() -> Iterator[tuple[str, Handle]]:
    for case in cases("handles", "0.1.0"):
        if not case["service_key"]:
            past = case["fields"]
            yield (
                case["name"],
                Handle(
                    **{
                        **past,
                        "key": Key(past["key"]),
                        "scope": Scope(
                            **dict(zip(("project", "domain", "org", "namespace"), past["scope"], strict=True))
                        ),
                        "memo": base64.b64decode(past["memo"]),
                    }
                ),
            )
    asked: dict[str, Any] = {
        "agent": "databricks",
        "task_type": "spark",
        "task_type_version": 1,
        "key": KEY,
        "scope": Scope(project="flytesnacks", domain="development", namespace="flytesnacks-development"),
        "connection": {"instance": "adb-1234567890123456.7.azuredatabricks.net"},
        "output_prefix": PREFIX,
        "created_at": 1795300000,
    }
    yield "an intent", Handle(**asked, is_intent=True)
    for phase, code, message, cause in _ENDS:
        yield (
            f"an end: {phase.value}",
            Handle(**asked, ending=Ending(phase=phase, code=code, message=message, cause=cause)),
        )
    adopted: dict[str, Any] = {
        **asked,
        "job": {"id": "987654321098765", "cluster": "1122-070900-abcdefgh"},
        "job_version": 2,
    }
    yield "an adopted job", Handle(**adopted, source_prefix=PREFIX[:-1] + "3", output_types={"rows": "i"})


def _records() -> Iterator[tuple[str, Record]]:
    request = b"\n\x04what\x12\x05was asked"
    claimed: dict[str, Any] = {"key": KEY, "claim": "5f0c2a9e7b1d4c36", "created_at": 1795300000, "release": "0.2.0"}
    yield "a claim", Record(stage=Stage.CLAIMED, request=request, **claimed)
    taken: dict[str, Any] = {**claimed, "turn": 7, "may_have_arrived": True}
    yield "a claim that was taken over", Record(stage=Stage.CLAIMED, request=request, **taken)
    yield "a claim that was given back", Record(stage=Stage.CLAIMED, **{**taken, "claim": ""})
    yield "a job", Record(stage=Stage.SUBMITTED, handle=b"\xffOB\x01\x00handle", **taken)
    cancelled: dict[str, Any] = {**taken, "is_cancelled": True, "refusals": 2}
    yield "a job to be stopped", Record(stage=Stage.SUBMITTED, handle=b"\xffOB\x01\x00handle", **cancelled)
    yield "a cancel before anything", Record(key=KEY, stage=Stage.ENDED, is_cancelled=True)
    for phase, code, message, cause in _ENDS:
        ending = Ending(phase=phase, code=code, message=message, cause=cause)
        yield f"an end: {phase.value}", Record(stage=Stage.ENDED, ending=ending, **taken)


_ENDS = (
    (Phase.FAILED, "INVALID_SQL", "line 3: no column 'prize', did you mean 'price'?", Cause.USER),
    (Phase.RETRYABLE_FAILED, "UNKNOWN_OUTCOME", "nobody knows whether the job was started", Cause.PLATFORM),
    (Phase.RETRYABLE_FAILED, "SPOT", "the machine was taken away", Cause.PREEMPTED),
    (Phase.ABORTED, "", "cancelled", Cause.CANCELLED_OUTSIDE),
    (Phase.SUCCEEDED, "", "", Cause.USER),
)


def _sampled(name: str, value: Handle | Record, key: str) -> dict[str, Any]:
    service_keys = [ServiceKey.parse(key)] if key else []
    codec: Any = HandleCodec(service_keys) if isinstance(value, Handle) else RecordCodec(service_keys)
    encoded = base64.b64encode(codec.encode(value)).decode()
    kind = "handle" if isinstance(value, Handle) else "record"
    return {"name": name, "service_key": key, kind: encoded, "fields": described(value)}


def _write(kind: str, release: str, samples: Sequence[tuple[str, Handle | Record]]) -> None:
    file = FOLDER / kind / f"{release}.json"
    if file.exists():
        return
    written = [_sampled(name, value, "") for name, value in samples]
    written += [_sampled(f"{name}, sealed", value, SERVICE_KEY) for name, value in samples]
    file.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", "utf-8")


def main(release: str) -> None:
    """Write the corpora of a release, and the sums of all; refuses when a file of another was changed."""
    _write("handles", release, list(_handles()))
    _write("records", release, list(_records()))
    written = digests()
    changed = [path for path, digest in summed().items() if written.get(path, digest) != digest]
    if changed:
        sys.exit(
            f"changed since it was written: {', '.join(changed)}; restore it, or delete it and its line in {SUMS.name}"
        )
    SUMS.write_text("".join(f"{digest}  {path}\n" for path, digest in written.items()), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
