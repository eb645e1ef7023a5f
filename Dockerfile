# syntax=docker/dockerfile:1
# One image for controller, agent and keepalived. (Not built where the project is tested: that machine has no container
# engine. The commands below are run there one by one as far as they need none.)

FROM python:3.11-slim-bookworm AS build
WORKDIR /source
RUN python -m venv /opt/virtualserver
COPY pyproject.toml README.md LICENSE ./
COPY operator/ operator/
RUN /opt/virtualserver/bin/pip install --no-cache-dir --disable-pip-version-check .

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="virtualserver" \
      org.opencontainers.image.description="Virtual servers for Kubernetes on Linux IPVS" \
      org.opencontainers.image.licenses="Apache-2.0"
# The agent's packet-filter rules are written by iptables, nft or legacy, whichever the node's kernel has. Of keepalived
# only VRRP is used; what it recommends (ipvsadm) is not needed for that.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends iptables keepalived \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/virtualserver /opt/virtualserver
ENV PATH=/opt/virtualserver/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# The controller's; agent and keepalived run as root with few capabilities (see the chart).
USER 65532:65532
ENTRYPOINT ["virtualserver"]
