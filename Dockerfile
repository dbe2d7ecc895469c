# psu-agent as a container. The base is Debian with Debian's own Python, so that the steps can be tried in any clean
# Debian tree. Packages from PyPI are locked by version and hash: docker/*.lock, renewed by `make lock`.
#
# It builds for linux/amd64, linux/arm64 and linux/arm/v7 (docs/install.md). All packages have wheels for these, but PyYAML has none
# for 32-bit ARM: it is compiled there, against libyaml, without which reading a configuration takes ten times as long.

FROM debian:12.15-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv \
 && if [ "$(dpkg --print-architecture)" = armhf ]; then apt-get install -y --no-install-recommends gcc libc6-dev libyaml-dev python3-dev; fi \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY docker/requirements.lock docker/build-requirements.lock ./docker/
RUN python3 -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: --require-hashes -r docker/build-requirements.lock
RUN if [ "$(dpkg --print-architecture)" = armhf ]; then compiled="--no-binary pyyaml"; fi \
 && mkdir /opt/wheels && PATH=/opt/build/bin:$PATH pip wheel --no-cache-dir --disable-pip-version-check --no-build-isolation --only-binary :all: $compiled --require-hashes --wheel-dir /opt/wheels -r docker/requirements.lock \
 && python3 -m venv --without-pip /opt/psu-agent \
 && /opt/build/bin/pip --python /opt/psu-agent install --no-cache-dir --disable-pip-version-check --no-index --no-deps /opt/wheels/*.whl
COPY pyproject.toml hatch_build.py .git_archival.txt README.md LICENSE ./
COPY agent ./agent
COPY docker/healthcheck.py ./docker/
# There is no git here to ask. Without the argument it is a version below the first release.
ARG VERSION=
RUN SETUPTOOLS_SCM_PRETEND_VERSION_FOR_PSU_AGENT="$VERSION" SOURCE_DATE_EPOCH=0 /opt/build/bin/pip wheel --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir /opt/wheel . \
 && /opt/build/bin/pip --python /opt/psu-agent install --no-cache-dir --disable-pip-version-check --no-deps /opt/wheel/*.whl \
 && install -m 0644 docker/healthcheck.py /opt/psu-agent/

FROM debian:12.15-slim
LABEL org.opencontainers.image.title="psu-agent" org.opencontainers.image.licenses="MIT" org.opencontainers.image.description="Bench power supplies on MQTT"
# libusb for USBTMC, the certificates for brokers with public ones, tini because process 1 has to reap
# processes that its children leave (`model: external` starts programs).
RUN apt-get update && apt-get install -y --no-install-recommends python3 libusb-1.0-0 ca-certificates tini \
 && if [ "$(dpkg --print-architecture)" = armhf ]; then apt-get install -y --no-install-recommends libyaml-0-2; fi \
 && rm -rf /var/lib/apt/lists/*
RUN groupadd --system --gid 10001 psu && useradd --system --uid 10001 --gid psu --groups dialout --no-create-home --home-dir /var/lib/psu-agent psu \
 && install -d -o psu -g psu -m 0750 /var/lib/psu-agent /etc/psu-agent
COPY --from=build /opt/psu-agent /opt/psu-agent
ENV PATH=/opt/psu-agent/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PSU_AGENT_CONF=/etc/psu-agent/psu-agent.yaml
# Without a group behind it: with one the user would be in that one alone, and not in dialout, whose the serial ports are.
USER 10001
VOLUME ["/var/lib/psu-agent"]
HEALTHCHECK --interval=60s --timeout=30s --start-period=30s --retries=3 CMD ["python", "/opt/psu-agent/healthcheck.py"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "psu-agent"]
CMD ["run"]
