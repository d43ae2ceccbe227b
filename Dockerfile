# imagepipe as an image: the build host is reached over its socket or mutual TLS, nothing runs inside.
#   docker run --rm -v "$PWD:/work" -v /var/run/docker.sock:/var/run/docker.sock \
#     --group-add "$(stat -c %g /var/run/docker.sock)" IMAGE run
ARG PYTHON=python:3.12-slim
FROM ${PYTHON}
# {version}, {branch} and {sha} of tags, and the commit in the provenance, are asked of git.
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml README.md LICENSE /src/
COPY imagepipe /src/imagepipe
RUN pip install --no-cache-dir /src && rm -rf /src && useradd --create-home --uid 10001 imagepipe
USER imagepipe
WORKDIR /work
ENTRYPOINT ["imagepipe"]
