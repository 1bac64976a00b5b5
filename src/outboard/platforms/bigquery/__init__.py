"""BigQuery: query jobs over the REST API, version 2.

Who does what:

* `settings` is what the operator decides, and what of it travels with a handle; `config` is what a task sends;
* `request` turns a task into the body of `jobs.insert`, with `parameters` for its typed inputs;
* `credentials` gets access tokens off the event loop, `client` makes the calls, `errors` says what refusals mean;
* `listing` asks for many jobs at once;
* `states` says what a job's state means, `results` which table it made, `statistics` what it consumed;
* `agent` puts them together, `platform` is what the host loads.

The id of a job is its submission key, so a create that is sent again is refused as a duplicate, and the label `outboard-key`
proves that the job of that id is ours. Every job is pinned to a location before it is sent: elsewhere the same id would be
another job, and a single-region job cannot be asked about without it.
"""
