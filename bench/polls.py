"""The polls of many jobs, without creating each: one CreateTask shows what a server's handles look like.

Ours are stateless: a handle holds all that finds a job, and a process that never saw it follows it, as behind a load balancer
most do. So the first handle is read, its job, key and output prefix are renamed, and it is written again with the codec of the
service; nothing tells the result from what CreateTask would have answered. flytekit's handles are the JSON of the
connector's own fields.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import grpc
from flyteidl.admin import agent_pb2

import messages
import servers
from outboard.domain.handles import HandleCodec
from outboard.domain.keys import Key
from places import SCRATCH

_DIGEST_BYTES = 16


def write(server: servers.Running, task_type: str, count: int, *, first: int = 0) -> Path:
    """Write the polls of `count` jobs, numbered from `first`, and return where."""
    serial = messages.serial(
        zlib.crc32(task_type.encode())
    )  # a task of its own per type, for a server that serves several
    renamed = renaming(_created(server, task_type, serial), serial)
    numbers = range(first, first + count)
    bodies = [messages.get_request(renamed(each), messages.serial(each), task_type) for each in numbers]
    path = SCRATCH / f"polls-{server.name}-{task_type}-{count}.bin"
    messages.write_bodies(path, bodies)
    return path


def _created(server: servers.Running, task_type: str, serial: str) -> bytes:
    request = messages.create_request(serial, task_type)
    with grpc.insecure_channel(server.address) as channel:
        answer = channel.unary_unary(messages.CREATE)(request, timeout=10)
    meta: bytes = agent_pb2.CreateTaskResponse.FromString(answer).resource_meta
    return meta


def renaming(meta: bytes, serial: str) -> Callable[[int], bytes]:
    """Return a function from a job's number to its handle, after the pattern of the handle of the task of `serial`."""
    if meta.startswith(b"{"):
        fields = json.loads(meta)
        return lambda number: json.dumps({**fields, "job_id": f"{number:08d}"}).encode()
    codec = HandleCodec()
    handle = codec.decode(meta)
    stem = handle.key.text.rpartition("-")[0] + "-"

    def renamed(number: int) -> bytes:
        prefix = handle.output_prefix.replace(serial, messages.serial(number))
        digest = hashlib.blake2b(prefix.encode(), digest_size=_DIGEST_BYTES).digest()
        key = Key(stem + base64.b32encode(digest).decode().rstrip("=").lower())
        return codec.encode(replace(handle, job={"id": f"{number:08d}"}, key=key, output_prefix=prefix))

    return renamed
