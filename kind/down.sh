#!/usr/bin/env bash
# Remove the kind cluster that up.sh made. Not run where the project is tested: that machine has no container engine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=kind/common.sh
source kind/common.sh

need_docker
need kind https://kind.sigs.k8s.io/docs/user/quick-start/#installation
if cluster_exists; then
  kind delete cluster --name "$CLUSTER"
else
  echo "there is no kind cluster named $CLUSTER"
fi
