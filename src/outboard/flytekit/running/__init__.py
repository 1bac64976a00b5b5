"""flytekit's tasks on our engine: `pyflyte run` and notebooks, with no change to a workflow.

flytekit loads `hook` by its entry point group `flytekit.plugins`. The hook stands in for one method of flytekit's two executor
mixins; everything else is imported when the first task with an agent is executed. Then, in the order of a task's way:

===================  ======================================================================
`execution`          decides who runs a task: we, or flytekit as ever
`settings`           what the environment says, under the names that `outboard run` knows
`tasks`              flytekit's task and native inputs to ours, our outputs to flytekit's
`shared_engine`      the one engine of this process, in a thread of its own
`recalls`            what an earlier run, killed half-way, has done already
`waiting`            the caller's side: shows what happens, obeys Ctrl-C
`failures`           what flytekit raises to the user
===================  ======================================================================

See docs/run-flytekit-tasks.md.
"""
