"""mesh: a service registry and service mesh that anyone can run."""

__version__ = "0.1.0"
