"""The API describes itself."""

from __future__ import annotations

import json

from mesh.http import openapi
from mesh.http.routes import ROUTES
from tests.compat.conftest import Api


async def test_the_document_is_served(api: Api) -> None:
    got = await api.get("/v1/openapi.json")
    assert got.status == 200
    assert got.json == json.loads(json.dumps(openapi.document(ROUTES)))
    assert got.json["paths"]["/v1/openapi.json"]["get"]["summary"]
