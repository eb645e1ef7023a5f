#!/usr/bin/env bash
# A kind cluster with virtual servers in it, from nothing; run it again after a change to bring that in.
# CLUSTER names it (virtualserver), VIP is the sample's address (from kind's Docker network).
# Not run where the project is tested: that machine has no container engine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=kind/common.sh
source kind/common.sh

IMAGE=virtualserver
TAG=kind-$(date +%s) # a new tag makes the pods restart with the new image
NAMESPACE=virtualserver-system
DIRECTORS=("$CLUSTER-worker" "$CLUSTER-worker2")
CLIENT=$CLUSTER-worker3

main() {
  need_docker
  need kind https://kind.sigs.k8s.io/docs/user/quick-start/#installation
  need kubectl https://kubernetes.io/docs/tasks/tools/
  need helm https://helm.sh/docs/intro/install/
  create_cluster
  build_image
  install_chart
  apply_sample
  try_it
}

k() {
  kubectl --context "kind-$CLUSTER" "$@"
}

create_cluster() {
  if cluster_exists; then
    echo "== cluster $CLUSTER is there"
  else
    echo "== creating cluster $CLUSTER"
    kind create cluster --name "$CLUSTER" --config kind/cluster.yaml --wait 180s
  fi
  k label node "${DIRECTORS[@]}" virtualserver.dev/director=true --overwrite
}

build_image() {
  echo "== building $IMAGE:$TAG"
  docker build --tag "$IMAGE:$TAG" .
  kind load docker-image "$IMAGE:$TAG" --name "$CLUSTER"
}

install_chart() {
  echo "== installing the chart"
  k create namespace "$NAMESPACE" --dry-run=client -o yaml | k apply -f -
  k label namespace "$NAMESPACE" pod-security.kubernetes.io/enforce=privileged --overwrite
  k apply --server-side --force-conflicts -f helm/virtualserver/crds # helm installs them but never updates them
  helm upgrade virtualserver helm/virtualserver --install --kube-context "kind-$CLUSTER" --namespace "$NAMESPACE" \
    --set image.repository="$IMAGE" --set image.tag="$TAG" --set image.pullPolicy=Never \
    --set-json 'agent.nodeSelector={"virtualserver.dev/director": "true"}' \
    --set-json 'directorGroups=[{"name": "default", "spec": {"nodeSelector": {"virtualserver.dev/director": "true"}, "interface": "eth0", "vrrp": {"advertisementInterval": "300ms"}}}]' \
    --wait --timeout 180s
}

# An address at the end of kind's network, far from those that Docker gives out.
virtual_address() {
  if [[ -n ${VIP:-} ]]; then
    echo "$VIP"
    return
  fi
  local subnets subnet
  subnets=$(docker network inspect kind --format '{{range .IPAM.Config}}{{println .Subnet}}{{end}}')
  subnet=$(grep -E '^[0-9.]+/16$' <<<"$subnets" | head -n 1) ||
    die "kind's Docker network is no IPv4 /16; set VIP to a free address of it and run this again"
  echo "${subnet%.0.0/16}.255.200"
}

apply_sample() {
  VIP=$(virtual_address)
  echo "== applying kind/sample.yaml with address $VIP"
  sed "s/172\.18\.255\.200/$VIP/" kind/sample.yaml | k apply -f -
  k rollout status deployment/web --timeout=180s
  k wait virtualserver/web --for=condition=Available --timeout=60s
}

try_it() {
  echo "== six requests from $CLIENT"
  local _
  for _ in 1 2 3 4 5 6; do
    docker exec "$CLIENT" curl --silent --show-error --fail --max-time 5 "http://$VIP/hostname"
    echo
  done
  k get virtualservers
  echo "== ready: kubectl --context kind-$CLUSTER get vs -w; kind/down.sh removes it"
}

main
