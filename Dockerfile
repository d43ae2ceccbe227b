# imagepipe as an image: the build host is reached over its socket or mutual TLS, nothing runs inside.
ARG PYTHON=python:3.12-slim
FROM ${PYTHON}
COPY pyproject.toml README.md LICENSE /src/
COPY imagepipe /src/imagepipe
RUN pip install --no-cache-dir /src && rm -rf /src && useradd --create-home --uid 10001 imagepipe
USER imagepipe
WORKDIR /work
ENTRYPOINT ["imagepipe"]
