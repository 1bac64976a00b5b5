"""Outboard: run other people's platforms as workflow tasks."""
