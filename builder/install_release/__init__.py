"""Install half: unpacks a release on production. Standard library only, Python >= 3.9, relative imports only."""

__version__ = "1.0.0"
