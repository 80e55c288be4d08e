"""The package's version, for modules that its `__init__` imports."""

__version__ = "0.1.0"
