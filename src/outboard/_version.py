"""The package's version, read by the build and by `outboard --version`."""

__version__ = "0.1.0"
