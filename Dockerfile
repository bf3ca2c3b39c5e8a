# The image of every container in cluster-compose.yml.
FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY mesh mesh
RUN pip wheel --no-cache-dir --wheel-dir /wheels ".[envoy]"

FROM python:3.11-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels 'mesh[envoy]' \
    && useradd --system --create-home --home-dir /mesh mesh
WORKDIR /mesh
# A volume that is mounted here belongs to mesh, as the folder does.
RUN install -d -o mesh -g mesh -m 700 certificates
COPY --chown=mesh demo demo
USER mesh
EXPOSE 8300 8301/tcp 8301/udp 8302/tcp 8302/udp 8500 8600/tcp 8600/udp
CMD ["meshd", "agent", "-dev"]
