"""The files platform: sensors that wait for a file, on this machine or in an object store.

* `addresses` reads what a task names: a file, a glob, anything below a folder; and what the operator lets it name;
* `stores` looks, through obstore, the same way at local files and at S3, Google Cloud Storage and Azure;
* `sensors` are the agents: our own task type `file_sensor`, and flytekit's `sensor` where it is flytekit's FileSensor.
"""
