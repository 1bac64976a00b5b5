"""The agents that ship with Outboard, one folder per platform.

A platform's folder holds its agent classes, its states, its client and a README, and imports only the authoring API
(`outboard.agent`), the domain, the errors and its own client library. Platforms never import each other. A client
library is an extra of the package and is imported inside the function that needs it, so that a service without the
extra starts, lists its agents and says what is missing.
"""
