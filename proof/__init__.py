"""The proof: `make proof` counts in the platforms' own ledgers whether the promise is kept, by us and by flytekit's service."""
