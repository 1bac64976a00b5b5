"""Remote stores of secrets; each module is imported where its store is configured."""
