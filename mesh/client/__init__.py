"""The Python client of mesh: `Client` blocks; `mesh.client.aio.AsyncClient` awaits."""

from mesh.client.call import Answer, ReadOptions
from mesh.client.settings import Settings
from mesh.client.sync import Client

__all__ = ["Answer", "Client", "ReadOptions", "Settings"]
