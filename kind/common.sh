# shellcheck shell=bash
# What up.sh and down.sh share.

CLUSTER=${CLUSTER:-virtualserver}
export CLUSTER

die() {
  printf '%s\n' "$*" >&2
  exit 1
}

# need PROGRAM WHERE-IT-COMES-FROM
need() {
  command -v "$1" >/dev/null || die "$1 not found; install it: $2"
}

need_docker() {
  need docker https://docs.docker.com/engine/install/
  docker info >/dev/null 2>&1 || die "docker does not answer: start it, or join the group that may use it"
}

cluster_exists() {
  kind get clusters 2>/dev/null | grep -qx "$CLUSTER"
}
