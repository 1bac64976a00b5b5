"""Platforms that are not there: one HTTP server (and one behind TLS) that speaks as much of six vendors' APIs as connectors use.

* BigQuery: jobs.insert, jobs.get, jobs.cancel (https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs) and OAuth's token
  endpoint for service accounts;
* OpenAI: chat completions and batches (https://platform.openai.com/docs/api-reference);
* Databricks: runs/submit, runs/get, runs/cancel (https://docs.databricks.com/api/workspace/jobs);
* SageMaker: endpoints (https://docs.aws.amazon.com/sagemaker/latest/APIReference);
* Kubernetes: services and stateful sets of one namespace (https://kubernetes.io/docs/reference/kubernetes-api);
* MMCloud: what the program `float` of the cases asks.

It keeps jobs in memory and counts what was really done; `finish` ends what runs.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

RUNNING: Final = "running"
DONE: Final = "done"
CANCELLED: Final = "cancelled"


class Cloud:
    """The platforms' state, and where they listen.

    Args:
        certificate: A file with key and certificate for `localhost`; None listens without TLS only.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.jobs: dict[str, str] = {}
        self.done: list[tuple[str, str]] = []
        self.plain = _listen(self)
        self.secure = None
        if certificate is not None:
            self.secure = _listen(self)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.secure.socket = context.wrap_socket(self.secure.socket, server_side=True)
        for server in filter(None, (self.plain, self.secure)):
            threading.Thread(target=server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens without TLS."""
        return f"http://127.0.0.1:{self.plain.server_address[1]}"

    @property
    def secure_host(self) -> str:
        """Where it listens with TLS, as host and port."""
        return f"localhost:{self.secure.server_address[1]}" if self.secure is not None else ""

    def finish(self) -> None:
        """End what runs, with success."""
        for job, state in self.jobs.items():
            if state == RUNNING:
                self.jobs[job] = DONE

    def close(self) -> None:
        """Stop listening."""
        for server in filter(None, (self.plain, self.secure)):
            server.shutdown()
            server.server_close()

    def start(self, job: str) -> str:
        """Start a job."""
        self.jobs[job] = RUNNING
        self.done.append(("start", job))
        return job

    def cancel(self, job: str) -> None:
        """Cancel a job."""
        self.jobs[job] = CANCELLED
        self.done.append(("cancel", job))

    def count(self, what: str) -> int:
        """Return how often something was done."""
        return sum(1 for each, _ in self.done if each == what)

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Any:
        """Return the JSON answer of whichever platform is meant; None is 404."""
        parts = urlsplit(target)
        path = parts.path.strip("/").split("/")
        operation = headers.get("X-Amz-Target", "")
        if operation:
            return _sagemaker(self, operation.rpartition(".")[2], json.loads(body or b"{}"))
        if path == ["token"]:
            return {"access_token": "t", "expires_in": 3600, "token_type": "Bearer"}
        if path[:2] == ["bigquery", "v2"]:
            return _bigquery(self, method, path[3:], json.loads(body or b"{}"))
        if path[:1] == ["v1"]:
            return _openai(self, method, path[1:])
        if path[:1] == ["float"]:
            return _float(self, path[1:])
        if "namespaces" in path:
            return _kubernetes(self, method, path[path.index("namespaces") + 2 :], json.loads(body or b"{}"))
        if path[:2] == ["api", "2.1"]:
            asked = parse_qs(parts.query)
            return _databricks(self, path[-1], json.loads(body or b"{}"), asked.get("run_id", [""])[0])
        return None


def _bigquery(cloud: Cloud, method: str, path: list[str], body: Mapping[str, Any]) -> Any:
    project, rest = path[0], path[2:]
    if method == "POST" and not rest:
        job = cloud.start(str(body.get("jobReference", {}).get("jobId") or f"bq-{len(cloud.jobs)}"))
        return _bigquery_job(cloud, project, job)
    if rest and rest[0] in cloud.jobs:
        if rest[1:] == ["cancel"]:
            cloud.cancel(rest[0])
            return {"job": _bigquery_job(cloud, project, rest[0])}
        return _bigquery_job(cloud, project, rest[0])
    return None


def _bigquery_job(cloud: Cloud, project: str, job: str) -> Mapping[str, Any]:
    state = cloud.jobs[job]
    status: dict[str, Any] = {"state": "RUNNING" if state == RUNNING else "DONE"}
    if state == CANCELLED:
        status["errorResult"] = {"reason": "stopped", "message": "Job execution was cancelled"}
        status["errors"] = [status["errorResult"]]
    table = {"projectId": project, "datasetId": "d", "tableId": "t"}
    return {
        "kind": "bigquery#job",
        "id": f"{project}:US.{job}",
        "jobReference": {"projectId": project, "jobId": job, "location": "US"},
        "configuration": {"jobType": "QUERY", "query": {"query": "SELECT 1", "destinationTable": table}},
        "status": status,
        "statistics": {},
    }


def _openai(cloud: Cloud, method: str, path: list[str]) -> Any:
    if path == ["chat", "completions"]:
        cloud.done.append(("start", "chat"))
        message = {"role": "assistant", "content": "hello from the moon"}
        choice = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": None}
        return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    if path == ["batches"] and method == "POST":
        return _batch(cloud, cloud.start(f"batch-{len(cloud.jobs)}"))
    if path[:1] == ["batches"] and path[1] in cloud.jobs:
        if path[2:] == ["cancel"]:
            cloud.cancel(path[1])
        return _batch(cloud, path[1])
    return None


def _batch(cloud: Cloud, job: str) -> Mapping[str, Any]:
    status = {RUNNING: "in_progress", DONE: "completed", CANCELLED: "cancelled"}[cloud.jobs[job]]
    return {
        "id": job,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "f",
        "completion_window": "24h",
        "status": status,
        "created_at": 1,
    }


def _databricks(cloud: Cloud, method: str, body: Mapping[str, Any], run: str) -> Any:
    if method == "submit":
        return {"run_id": int(cloud.start(str(1000 + len(cloud.jobs))))}
    if method == "cancel":
        cloud.cancel(str(body["run_id"]))
        return {}
    if run not in cloud.jobs:
        return None
    state = cloud.jobs[run]
    said = {"life_cycle_state": "RUNNING", "state_message": ""}
    if state != RUNNING:
        result = "SUCCESS" if state == DONE else "CANCELED"
        said = {"life_cycle_state": "TERMINATED", "result_state": result, "state_message": "over"}
    return {"run_id": int(run), "job_id": 7, "state": said}


def _float(cloud: Cloud, path: list[str]) -> Any:
    if path == ["submit"]:
        return {"id": cloud.start(f"float-{len(cloud.jobs)}")}
    if path[1] not in cloud.jobs:
        return None
    if path[0] == "cancel":
        cloud.cancel(path[1])
    return {"status": {RUNNING: "Executing", DONE: "Completed", CANCELLED: "Cancelled"}[cloud.jobs[path[1]]]}


def _kubernetes(cloud: Cloud, method: str, path: list[str], body: dict[str, Any]) -> Any:
    kind, *names = path
    if method == "POST":
        if kind == "statefulsets":
            cloud.start(body["metadata"]["name"])
        return body
    if kind == "services":
        return {"metadata": {"name": names[0]}}
    if cloud.jobs.get(names[0], CANCELLED) == CANCELLED:
        return None
    if method == "DELETE":
        cloud.cancel(names[0])
    ready = int(cloud.jobs[names[0]] == DONE)
    spec = {"replicas": 1, "selector": {}, "serviceName": names[0], "template": {}}
    status = {"replicas": 1, "availableReplicas": ready, "readyReplicas": ready, "currentReplicas": ready}
    return {"metadata": {"name": names[0]}, "spec": spec, "status": status}


def _sagemaker(cloud: Cloud, operation: str, body: Mapping[str, Any]) -> Any:
    name = str(body.get("EndpointName", ""))
    arn = f"arn:aws:sagemaker:us-east-2:123456789012:endpoint/{name}"
    if operation == "CreateEndpoint":
        cloud.start(name)
        return {"EndpointArn": arn}
    if operation == "DeleteEndpoint":
        cloud.cancel(name)
        return {}
    if operation == "DescribeEndpoint" and name in cloud.jobs:
        status = {RUNNING: "Creating", DONE: "InService", CANCELLED: "Failed"}[cloud.jobs[name]]
        return {"EndpointName": name, "EndpointArn": arn, "EndpointStatus": status}
    if operation == "CreateModel":
        cloud.done.append(("start", "model"))
        return {"ModelArn": arn.replace("endpoint/", "model/m")}
    return None


def _listen(cloud: Cloud) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            said = cloud.answer(self.command, self.path, dict(self.headers.items()), body)
            data = json.dumps(said if said is not None else {"error": {"code": 404, "message": "not found"}}).encode()
            self.send_response(200 if said is not None else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the server's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)
