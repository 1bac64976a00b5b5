"""SQL anywhere: statements on databases of the operator's, each held by a worker process of its own.

* `agent` and `platform` are what the host sees; `server` follows and ends statements; `settings`, `config`, `connections`
  say where a task may go;
* `placeholders` and `parameters` turn inputs into bound parameters;
* `marks` are the few write-once objects at the output prefix by which workers and replicas agree;
* `worker` is the program that holds one statement; `results` writes its rows;
* `databases` has one module per kind of database.

This file stays empty: the worker imports the folder without paying for the package.
"""
