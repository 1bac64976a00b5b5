"""The proof: `make proof` counts, from the platforms' own ledgers, whether the promise is kept, and how flytekit's service does."""
