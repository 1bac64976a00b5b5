"""What is asked of each connector: a task as its plugin's own task class writes it, and where its platform is."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from flyteidl.admin import agent_pb2

from interop.hosting.cloud import Cloud

Secrets = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One connector.

    Attributes:
        plugin: The distribution that brings it.
        task_type: What it serves.
        custom: The task's configuration, given the cloud.
        inputs: The task's inputs.
        sql: The task's statement.
        config: The template's own settings.
        container: The image and arguments of the task's container.
        env: The service's environment, given the cloud and a folder for files.
        secrets: What Flyte 2 sends with each request; None is a connector of flytekit.
        pickles: Its handles are pickles.
        faked: Its platform is; where it is not, calls reach the connector and end there.
        note: What a reader must know.
    """

    plugin: str
    task_type: str
    custom: Callable[[Cloud], Mapping[str, Any]] = lambda _: {}
    inputs: Mapping[str, str] = field(default_factory=dict)
    sql: str = ""
    config: Mapping[str, str] = field(default_factory=dict)
    container: Sequence[str] = ()
    env: Callable[[Cloud, Path], Mapping[str, str]] = lambda *_: {}
    secrets: Callable[[Path], Secrets] | None = None
    pickles: bool = False
    faked: bool = True
    note: str = ""

    def request(self, cloud: Cloud, folder: Path) -> agent_pb2.CreateTaskRequest:
        """Return a new execution of the task."""
        run = f"r{uuid.uuid4().hex[:10]}"
        request = agent_pb2.CreateTaskRequest(output_prefix=f"{folder}/{run}/n0/0")
        template = request.template
        template.type = self.task_type
        template.custom.update(self.custom(cloud))
        template.config.update(self.config)
        template.metadata.runtime.version = "1.16.0"
        if self.sql:
            template.sql.statement = self.sql
        if self.container:
            template.container.image, *arguments = self.container
            template.container.args.extend(arguments)
        for name, value in self.inputs.items():
            request.inputs.literals[name].scalar.primitive.string_value = value
            template.interface.inputs.variables[name].type.simple = 3
        template.interface.inputs.SetInParent()
        request.inputs.SetInParent()
        attempt = request.task_execution_metadata.task_execution_id
        attempt.node_execution_id.node_id = "n0"
        attempt.node_execution_id.execution_id.name = run
        attempt.task_id.name = "interop"
        return request


def make_certificate(folder: Path) -> Path:
    """Write a key and a certificate for `localhost`; return the file that holds both."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "localhost.pem"
    file.write_bytes(_key_bytes(key) + certificate.public_bytes(serialization.Encoding.PEM))
    return file


def make_google_account(cloud: Cloud, folder: Path) -> Path:
    """Write the key file of a service account whose tokens come from the cloud."""
    key = _key_bytes(rsa.generate_private_key(public_exponent=65537, key_size=2048)).decode()
    account = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "1",
        "private_key": key,
        "client_email": "agent@p.iam.gserviceaccount.com",
        "token_uri": f"{cloud.url}/token",
    }
    file = folder / "google.json"
    file.write_text(json.dumps(account))
    return file


def _key_bytes(key: rsa.RSAPrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def google(cloud: Cloud, folder: Path) -> dict[str, str]:
    """Return the environment in which Google's client finds the cloud."""
    account = make_google_account(cloud, folder)
    return {"GOOGLE_APPLICATION_CREDENTIALS": str(account), "BIGQUERY_EMULATOR_HOST": cloud.url}


def _openai(cloud: Cloud, _: Path) -> dict[str, str]:
    return {"OPENAI_BASE_URL": f"{cloud.url}/v1", "_FSEC_FLYTE_OPENAI_API_KEY": "sk-interop-not-a-key"}


def _databricks(cloud: Cloud, folder: Path) -> dict[str, str]:
    certificate = str(folder / "localhost.pem")
    return {
        "SSL_CERT_FILE": certificate,
        "FLYTE_DATABRICKS_INSTANCE": cloud.secure_host,
        "_FSEC_FLYTE_DATABRICKS_ACCESS_TOKEN": "dapi-interop-not-a-token",
    }


def _aws(cloud: Cloud, _: Path) -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": "interop", "AWS_SECRET_ACCESS_KEY": "interop"}
    return {**keys, "AWS_ENDPOINT_URL": cloud.url, "AWS_EC2_METADATA_DISABLED": "true"}


def _float(cloud: Cloud, folder: Path) -> dict[str, str]:
    """Return the environment with a program `float` that asks the cloud."""
    program = folder / "bin" / "float"
    program.parent.mkdir(exist_ok=True)
    program.write_text(_FLOAT.format(python=sys.executable, url=cloud.url))
    program.chmod(0o755)
    secrets = {f"_FSEC_MMC_{name}": "interop" for name in ("ADDRESS", "USERNAME", "PASSWORD")}
    return {**secrets, "PATH": f"{program.parent}:{os.environ['PATH']}"}


_FLOAT: Final = """#!{python}
import sys, urllib.request
command, options = sys.argv[1], sys.argv[2:]
if command == "login":
    sys.exit(0)
job = "" if command == "submit" else "/" + options[options.index("--job") + 1]
print(urllib.request.urlopen("{url}/float/" + command + job).read().decode())
"""


def _cluster(cloud: Cloud, folder: Path) -> dict[str, str]:
    """Return the environment of a pod: where its cluster is, and its service account's files, which lie elsewhere here."""
    token, hook = folder / "token", folder / "pod" / "sitecustomize.py"
    token.write_text("interop")
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(_POD.format(token=str(token), certificate=str(folder / "localhost.pem")))
    host, _, port = cloud.secure_host.partition(":")
    return {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port, "PYTHONPATH": str(hook.parent)}


_POD: Final = """
from kubernetes.config import incluster_config
incluster_config.SERVICE_TOKEN_FILENAME = {token!r}
incluster_config.SERVICE_CERT_FILENAME = {certificate!r}
"""


def _databricks_job(cloud: Cloud) -> Mapping[str, Any]:
    conf = {"run_name": "interop", "existing_cluster_id": "c1", "timeout_seconds": 3600}
    return {"databricksInstance": cloud.secure_host, "databricksConf": conf, "sparkConf": {}}


def _snowflake_key(_: object, __: object = None) -> dict[str, str]:
    key = _key_bytes(rsa.generate_private_key(public_exponent=65537, key_size=2048)).decode()
    # Nothing listens there: the driver's own host names end in snowflakecomputing.com, and cannot be pointed elsewhere.
    return {"_FSEC_SNOWFLAKE_PRIVATE_KEY": key, "HTTPS_PROXY": "http://127.0.0.1:9"}


_BIGQUERY: Final = {"ProjectID": "p", "Location": "US", "Domain": "development"}
_SNOWFLAKE: Final = {"user": "u", "account": "a", "database": "d", "schema": "s", "warehouse": "w"}
_SENSOR: Final = {
    "py/object": "flytekitplugins.airflow.task.AirflowObj",
    "module": "airflow.sensors.bash",
    "name": "BashSensor",
    "parameters": {"task_id": "t", "bash_command": "exit 0"},
}
_NOWHERE: Final = "its platform is not faked: the calls reach the connector, and its client's error comes back"

CASES: Final = (
    Case(
        plugin="flytekitplugins-bigquery", task_type="bigquery_query_job_task", sql="SELECT 1",
        custom=lambda _: _BIGQUERY, env=google,
    ),
    Case(
        plugin="flytekitplugins-openai", task_type="chatgpt", inputs={"message": "hi"}, env=_openai,
        custom=lambda _: {"openai_organization": "o", "chatgpt_config": {"model": "m"}},
    ),
    Case(
        plugin="flytekitplugins-openai", task_type="openai-batch", inputs={"input_file_id": "f"}, env=_openai,
        custom=lambda _: {"openai_organization": "o", "config": {}}, pickles=True,
    ),
    Case(
        plugin="flytekitplugins-spark", task_type="databricks", custom=_databricks_job, env=_databricks,
        container=("image", "pyflyte-execute"),
    ),
    Case(
        plugin="flytekitplugins-spark", task_type="spark", custom=_databricks_job, env=_databricks,
        container=("image", "pyflyte-execute"),
    ),
    Case(
        plugin="flytekitplugins-snowflake", task_type="snowflake", sql="SELECT 1", config=_SNOWFLAKE,
        env=_snowflake_key, faked=False, note=_NOWHERE,
    ),
    Case(
        plugin="flytekitplugins-slurm", task_type="slurm", faked=False,
        custom=lambda _: {
            "ssh_config": {"host": "127.0.0.1", "username": "u", "client_keys": []},
            "batch_script_args": [], "sbatch_config": {}, "batch_script_path": "job.sh",
        },
        note=f"{_NOWHERE}; it calls sys.exit(1) where it cannot connect, which ends flytekit's own service",
    ),
    Case(
        plugin="flytekitplugins-awssagemaker", task_type="boto", env=_aws,
        custom=lambda _: {
            "service": "sagemaker", "method": "create_model", "region": "us-east-2",
            "config": {"ModelName": "m", "ExecutionRoleArn": "arn:aws:iam::123456789012:role/interop"},
        },
    ),
    Case(
        plugin="flytekitplugins-awssagemaker", task_type="sagemaker-endpoint", env=_aws, pickles=True,
        custom=lambda _: {"config": {"EndpointName": "e", "EndpointConfigName": "c"}, "region": "us-east-2"},
    ),
    Case(
        plugin="flytekitplugins-mmcloud", task_type="mmcloud_task", container=("image", "pyflyte-execute"), env=_float,
        custom=lambda _: {"submit_extra": "", "resources": ["1", "1", "", ""]},
    ),
    Case(
        plugin="flytekitplugins-k8sdataservice", task_type="dataservicetask",
        env=_cluster,
        note="after a delete its get raises (404), so nobody can tell that the job is over",
        custom=lambda _: {"Name": "d", "Image": "i", "Command": ["c"], "Cluster": "k", "Port": 40000, "Replicas": 1},
    ),
    Case(
        plugin="flytekitplugins-perian-job", task_type="perian_task", container=("image", "pyflyte-execute"), faked=False,
        env=lambda *_: {"_FSEC_PERIAN_ORGANIZATION": "interop", "_FSEC_PERIAN_TOKEN": "interop", "HTTPS_PROXY": "http://127.0.0.1:9"},
        custom=lambda _: {"cores": 1}, note=_NOWHERE,
    ),
    Case(
        plugin="flytekitplugins-airflow", task_type="airflow", pickles=True, faked=False,
        custom=lambda _: {"task_config_pkl": json.dumps(_SENSOR)}, note="a BashSensor, which runs in the service itself",
    ),
    Case(
        plugin="flyteplugins-bigquery", task_type="bigquery_query_job_task", sql="SELECT 1", custom=lambda _: _BIGQUERY,
        env=lambda cloud, folder: {"BIGQUERY_EMULATOR_HOST": google(cloud, folder)["BIGQUERY_EMULATOR_HOST"]},
        secrets=lambda folder: {"google_application_credentials": (folder / "google.json").read_text()},
    ),
    Case(
        plugin="flyteplugins-snowflake", task_type="snowflake", sql="SELECT 1", faked=False, note=_NOWHERE,
        custom=lambda _: _SNOWFLAKE, env=_snowflake_key,
        secrets=lambda _: {"snowflake_private_key": _snowflake_key(None)["_FSEC_SNOWFLAKE_PRIVATE_KEY"]},
    ),
    Case(
        plugin="flyteplugins-databricks", task_type="databricks", custom=_databricks_job, env=_databricks,
        container=("image", "a0"), secrets=lambda _: {"databricks_token": "dapi-interop-not-a-token"},
    ),
)  # fmt: skip
