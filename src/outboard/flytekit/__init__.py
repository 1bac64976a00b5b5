"""The bridge to flytekit: hosts its connectors, and runs its tasks on our engine."""
