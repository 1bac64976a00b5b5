"""The embedded platform: jobs as detached processes on this machine, each in its own job directory.

Who does what:

* `client` creates, reads and cancels jobs; it holds no state, so any process may use the same root at any time;
* `runner` is one small process per job: it starts the command, waits for it and records how it ended;
* `boot` starts the runner and the DuckDB job without paying for the package's imports;
* `job_files` is the format of a job directory, `processes` knows processes beyond their recycled ids;
* `states` decides from the files and the processes where a job stands;
* `logs` pages through a job's output;
* `queries` says what a DuckDB job gets and gives; `duckdb_job`, `duckdb_session`, `duckdb_inputs` and `transfers`
  are the program that does it.

The directory is the record: nothing about a job lives only in memory, so a service that restarts, or a second one,
finds every job as it is.
"""
