"""Snowflake: statements over the SQL API, version 2.

Who does what:

* `settings` is what the operator decides, `config` is what a task sends, `accounts` knows account identifiers and their hosts;
* `connections` decides where and as whom a task runs, `logins` signs tokens off the event loop;
* `templates` turns the SDKs' placeholders into `?`, `bindings` inputs into typed values, `statements` both into a request;
* `client` makes the calls, `errors` says what refusals and failures mean, `states` where a statement stands;
* `results` says what became of one, `history` asks Snowflake's query history, where the operator pays for it;
* `agent` puts them together, `platform` is what the host loads.

A statement carries its submission key twice: as the request id, by which Snowflake tells a request that is sent again, and
in the query tag, by which the query history finds it. Inputs are bound; nothing is ever put into the text of a statement.
"""
