"""The HTTP edge: the /v1 API, its parameters, shapes, routes and server."""
