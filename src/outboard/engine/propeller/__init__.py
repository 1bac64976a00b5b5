"""Flyte's own configuration about agent services: read for our routing, drafted for an operator, and checked.

==================  ====================================================================================================
`sections`          the shape of the two plugins' sections: keys, defaults, limits; `go_durations` reads what Go reads
`config`            one file as the local engine uses it: who is where and takes which tasks
`trees`             YAML that remembers its lines; files merged as Flyte merges them
`layouts`           where in a file the engine's configuration stands: plain, ConfigMap, Helm values
`draft`             the configuration that suits an agent service, each line with its reason; `rates` computes its numbers
`packaging`         the draft as a plain file, as Helm values, as a ConfigMap
`inspection`        what is wrong with an existing configuration: `findings`, from the `*_checks`, which look at a `situation`
`deadlines`         how long Flyte should wait, and how long it will; `plugins` says which of Flyte's own claim which task types
==================  ====================================================================================================

What stands here about Flyte was read in its sources and tried with its own configuration loader: Flyte 1.16.8 and the head
of Flyte 2. One fact shapes all of it: the loader (viper) writes the keys of every map in lower case. Keys that name fields
do not care, but operations, task types and names of services with capital letters are lost, in silence. A list of maps
with one key each keeps them; the loader makes one map of it again (`sliceToMapHook` in `flytestdlib/config/viper`).
"""
