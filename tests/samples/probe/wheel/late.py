"""Imported by nobody at start."""

version = "@version@"
