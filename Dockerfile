# psu-agent as a container. The base is Debian with Debian's own Python, so that the steps can be tried in any clean
# Debian tree. Packages from PyPI are locked by version and hash: docker/*.lock, renewed by `make lock`.

FROM debian:12.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY docker/requirements.lock docker/build-requirements.lock ./docker/
RUN python3 -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: --require-hashes -r docker/build-requirements.lock
RUN python3 -m venv --without-pip /opt/psu-agent \
 && /opt/build/bin/pip --python /opt/psu-agent install --no-cache-dir --disable-pip-version-check --only-binary :all: --require-hashes -r docker/requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY agent ./agent
RUN SOURCE_DATE_EPOCH=0 /opt/build/bin/pip wheel --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir /opt/wheel . \
 && /opt/build/bin/pip --python /opt/psu-agent install --no-cache-dir --disable-pip-version-check --no-deps /opt/wheel/*.whl

FROM debian:12.12-slim
# libusb for USBTMC, the certificates for brokers with public ones, tini because process 1 has to reap
# processes that its children leave (`model: external` starts programs).
RUN apt-get update && apt-get install -y --no-install-recommends python3 libusb-1.0-0 ca-certificates tini && rm -rf /var/lib/apt/lists/*
RUN groupadd --system --gid 10001 psu && useradd --system --uid 10001 --gid psu --groups dialout --no-create-home --home-dir /var/lib/psu-agent psu \
 && install -d -o psu -g psu -m 0750 /var/lib/psu-agent /etc/psu-agent
COPY --from=build /opt/psu-agent /opt/psu-agent
COPY docker/healthcheck.py /opt/psu-agent/healthcheck.py
ENV PATH=/opt/psu-agent/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PSU_AGENT_CONF=/etc/psu-agent/psu-agent.yaml
USER 10001:10001
VOLUME ["/var/lib/psu-agent"]
HEALTHCHECK --interval=60s --timeout=30s --start-period=30s --retries=3 CMD ["python", "/opt/psu-agent/healthcheck.py"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "psu-agent"]
CMD ["run"]
