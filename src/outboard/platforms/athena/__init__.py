"""Athena: SQL on S3, by the JSON API of AWS (version 2017-05-18).

Who does what:

* `settings` is what the operator decides, and what of it travels with a handle; `config` is what a task sends;
* `statement` turns a task's SQL and its templates into one with `?`, `parameters` spells the values;
* `request` puts the call together that starts a query, and says where its rows go;
* `credentials` gets access keys off the event loop, `signing` signs calls with them, `regions` knows the addresses;
* `client` makes the calls, `errors` says what refusals mean and why queries fail, `states` where they stand;
* `results` finds what a query has made, `statistics` what it consumed;
* `agent` puts them together, `platform` is what the host loads.

The request token of a query is its submission key, so a start that is sent again is answered with the first query's id.
"""
