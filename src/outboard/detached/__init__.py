"""Detached jobs: processes on this machine that outlive the service, each in a job directory of its own.

Platforms whose work runs here build on it; it is no platform itself.

* `job_directory` creates, reads and cancels jobs; it holds no state, so any process may use the same root at any time;
* `runner` is one small process per job: it starts the command, waits for it and records how it ended;
* `boot` starts the runner, and programs of platforms, without paying for the package's imports;
* `job_files` is the format of a job directory, `processes` knows processes beyond their recycled ids;
* `states` decides from the files and the processes where a job stands;
* `logs` pages through a job's output; `transfers` and `output_places` bring results to where they belong, and
  `result_columns` says what their columns are.

The directory is the record: nothing about a job lives only in memory, so a service that restarts, or a second one,
finds every job as it is.
"""
