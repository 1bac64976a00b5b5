"""Fake platforms: written from the vendors' API documentation, apart from the agents that talk to them."""
