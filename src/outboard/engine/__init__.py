"""The local engine: the role of FlytePropeller on one machine."""
