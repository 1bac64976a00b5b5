"""Cases of the agents that ship with Outboard, as the entry points `outboard.cases` name them."""
