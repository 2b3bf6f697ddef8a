# One image for every command of the gateway:
#
#   docker build -t llm-gateway --build-arg LOCAL=1 .    with the local model: llama.cpp is compiled, some minutes
#   docker build -t llm-gateway .                        without it, about two minutes; needs a file of yours
#   docker build -t llm-gateway --build-arg COMPILED=0 . with nothing compiled: the same, at more CPU a request
#   docker run --name gw -p 8080:8080 -v gateway-data:/data --stop-timeout 40 llm-gateway
#   docker exec gw cat /data/master_key                  the key
#
# With a file of your own, which must listen on 0.0.0.0 and have `data_dir: /data` (begin with config/container.yaml):
#
#   docker run -p 8080:8080 -v gateway-data:/data -v ./my.yaml:/app/gateway.yaml:ro -e OPENAI_API_KEY llm-gateway
#
# The planes apart, on a network of their own: the second has `sidecar: {url: http://HOST:9090}` in its file.
#
#   docker run -p 9090:9090 -v gateway-data:/data --no-healthcheck … llm-gateway sidecar --config /app/gateway.yaml
#   docker run -p 8080:8080 … llm-gateway proxy --config /app/gateway.yaml
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
ARG LOCAL=0
ARG COMPILED=1
WORKDIR /src
RUN if [ "$LOCAL" = 1 ] || [ "$COMPILED" = 1 ]; then \
        apt-get update && apt-get install -y --no-install-recommends build-essential && rm -rf /var/lib/apt/lists/*; \
    fi
COPY requirements/ requirements/
RUN python -m venv /venv \
    && /venv/bin/python -m pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: -r requirements/image.lock
COPY scripts/install_local.py scripts/llama_only.cmake scripts/
# Not for this machine's processor alone: any x86-64 since 2013, or any 64-bit ARM.
RUN if [ "$LOCAL" = 1 ]; then CMAKE_ARGS=-DGGML_NATIVE=OFF /venv/bin/python scripts/install_local.py; fi
COPY pyproject.toml README.md ./
COPY gateway/ gateway/
COPY plugins/ plugins/
COPY config/plans.yaml config/roles.yaml config/
COPY config/providers config/providers
RUN /venv/bin/python -m pip install --no-cache-dir --no-deps .
COPY scripts/compile.py scripts/
RUN if [ "$COMPILED" = 1 ]; then \
        /venv/bin/python -m pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: \
            --target /compiler -r requirements/compile.lock \
        && PYTHONPATH=/compiler /venv/bin/python scripts/compile.py \
            "$(/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"; \
    fi

FROM python:${PYTHON}-slim
ARG LOCAL=0
RUN if [ "$LOCAL" = 1 ]; then \
        apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*; \
    fi \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin gateway \
    && install -d -o gateway -g gateway -m 0750 /data
WORKDIR /app
COPY --from=build /venv /venv
COPY config/ config/
COPY config/container.yaml gateway.yaml
COPY config/plans.yaml plans.yaml
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ.get(\"GATEWAY_PORT\", \"8080\")}/live', timeout=2)"]
ENTRYPOINT ["gateway"]
CMD ["serve", "--config", "/app/gateway.yaml"]
