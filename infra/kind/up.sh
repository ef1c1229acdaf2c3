#!/usr/bin/env bash
# Brings all of M7 Pulse up on a cluster of its own in Docker, with everything
# real: Knative, Kafka by Strimzi, the stores, the dashboards, the recorded data.
# With GITHUB_TOKEN set it sweeps GitHub instead of replaying the recording.
# Safe to repeat: each step finds what is there. down.sh takes it all away.
#
# Needs Docker with 12 GB of memory, kubectl, Go and the Internet.
set -euo pipefail
cd "$(dirname "$0")/../.."

CLUSTER=m7pulse
NODE=kindest/node:v1.35.0@sha256:452d707d4862f52530247495d180205e029056831160e22870e37e3f6c1ac31f
KNATIVE_SERVING=knative-v1.23.0
KNATIVE_EVENTING=knative-v1.23.0
KNATIVE_KAFKA=knative-v1.23.1
STRIMZI=0.50.0
RECORDED=42664

step() { printf '\n== %s\n' "$*"; }
kind() { go run sigs.k8s.io/kind@v0.31.0 "$@"; }
kube() { kubectl --context "kind-$CLUSTER" "$@"; }
pulse() { kube --namespace m7pulse "$@"; }
# apply: on the server, so that what is applied twice has one owner of its fields.
apply() { kube apply --server-side --force-conflicts "$@"; }
from() { apply --filename "$1" >/dev/null; }

# ready NAMESPACE: every deployment in it is available.
ready() { kube --namespace "$1" wait --for condition=Available --timeout 10m deployments --all >/dev/null; }

for tool in docker kubectl go make curl; do
  command -v "$tool" >/dev/null || { echo "$tool is not on PATH" >&2; exit 1; }
done
docker info >/dev/null || { echo "Docker does not answer" >&2; exit 1; }

step "The cluster $CLUSTER: waiting for its node"
if ! kind get clusters 2>/dev/null | grep -qx "$CLUSTER"; then
  kind create cluster --name "$CLUSTER" --image "$NODE" --wait 5m
fi
kube wait --for condition=Ready --timeout 5m nodes --all

step "Knative Serving $KNATIVE_SERVING with Kourier: waiting for its deployments"
serving=https://github.com/knative/serving/releases/download/$KNATIVE_SERVING
from "$serving/serving-crds.yaml"
kube wait --for condition=Established --timeout 2m crd/services.serving.knative.dev
from "$serving/serving-core.yaml"
from "https://github.com/knative-extensions/net-kourier/releases/download/$KNATIVE_SERVING/kourier.yaml"
kube --namespace knative-serving patch configmap config-network --type merge \
  --patch '{"data":{"ingress-class":"kourier.ingress.networking.knative.dev"}}'
ready knative-serving
ready kourier-system

step "Knative Eventing $KNATIVE_EVENTING: waiting for its deployments"
eventing=https://github.com/knative/eventing/releases/download/$KNATIVE_EVENTING
from "$eventing/eventing-crds.yaml"
kube wait --for condition=Established --timeout 2m crd/pingsources.sources.knative.dev
from "$eventing/eventing-core.yaml"
ready knative-eventing

step "KafkaSource $KNATIVE_KAFKA: waiting for its controller"
kafka=https://github.com/knative-extensions/eventing-kafka-broker/releases/download/$KNATIVE_KAFKA
from "$kafka/eventing-kafka-controller.yaml"
from "$kafka/eventing-kafka-source.yaml"
ready knative-eventing

step "Strimzi $STRIMZI: waiting for its operator"
from infra/knative/namespace.yaml
curl -fsSL "https://github.com/strimzi/strimzi-kafka-operator/releases/download/$STRIMZI/strimzi-cluster-operator-$STRIMZI.yaml" \
  | sed 's/namespace: .*/namespace: m7pulse/' | apply --namespace m7pulse --filename - >/dev/null
pulse rollout status deployment/strimzi-cluster-operator --timeout 10m

step "Passwords: made once"
random() { od -An -N20 -tx1 /dev/urandom | tr -d ' \n'; }
secret() { pulse get secret m7pulse-servers --output "go-template={{index .data \"$1\" | base64decode}}"; }
# make_secret NAME KEY=VALUE…: a Secret, by standard input, so that no value is in
# the list of processes. The one kind that is not applied on the server: stringData
# does not work well there.
make_secret() {
  local name=$1 pair
  shift
  {
    printf 'apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: m7pulse\nstringData:\n' "$name"
    for pair in "$@"; do printf "  %s: '%s'\n" "${pair%%=*}" "${pair#*=}"; done
  } | kube apply --filename - >/dev/null
}
if ! pulse get secret m7pulse-servers >/dev/null 2>&1; then
  reader=$(random)
  make_secret m7pulse-servers "REDIS_PASSWORD=$(random)" "CLICKHOUSE_PASSWORD=$(random)" "CLICKHOUSE_READER_PASSWORD=$reader" \
    "S3_ACCESS_KEY_ID=$(random)" "S3_SECRET_ACCESS_KEY=$(random)" "SUPERSET_SECRET_KEY=$(random)" "SUPERSET_ADMIN_PASSWORD=$(random)" \
    "CLICKHOUSE_URI=clickhousedb://reader:$reader@clickhouse:8123/pulse?autogenerate_session_id=false"
fi
make_secret m7pulse "KAFKA_SASL_USER=" "KAFKA_SASL_PASSWORD=" "GITHUB_TOKEN=${GITHUB_TOKEN:-}" \
  "SCHEMA_REGISTRY_URL=http://schema-registry.m7pulse.svc.cluster.local:8081/apis/ccompat/v7" \
  "REDIS_URL=redis://:$(secret REDIS_PASSWORD)@redis.m7pulse.svc.cluster.local:6379" \
  "CLICKHOUSE_URL=http://pulse:$(secret CLICKHOUSE_PASSWORD)@clickhouse.m7pulse.svc.cluster.local:8123" \
  "CLICKHOUSE_READER_URL=http://reader:$(secret CLICKHOUSE_READER_PASSWORD)@clickhouse.m7pulse.svc.cluster.local:8123" "API_KEYS=" "SIGNALS=${SIGNALS:-}" \
  "S3_ACCESS_KEY_ID=$(secret S3_ACCESS_KEY_ID)" "S3_SECRET_ACCESS_KEY=$(secret S3_SECRET_ACCESS_KEY)"

step "Images: the functions by ko, the runner, Connect and Superset by Docker"
KIND_CLUSTER_NAME=$CLUSTER make image REGISTRY=kind.local TAG=dev
docker build --quiet --tag m7pulse/runner:dev --file infra/compose/Dockerfile .
docker build --quiet --tag m7pulse/connect:dev --file infra/connect/Dockerfile .
docker build --quiet --tag m7pulse/superset:dev --file infra/compose/superset.Dockerfile infra/superset
kind load docker-image --name "$CLUSTER" m7pulse/runner:dev m7pulse/connect:dev m7pulse/superset:dev

step "Servers: waiting for Kafka, then for the stores, Trino and Superset"
apply --kustomize infra/kind
pulse wait --for condition=Ready --timeout 15m kafka/m7pulse
for workload in deployment/schema-registry statefulset/redis statefulset/clickhouse statefulset/minio statefulset/nessie deployment/connect deployment/trino deployment/superset; do
  pulse rollout status "$workload" --timeout 15m
done

step "Functions, topics and sources: waiting until each is ready"
apply --kustomize infra/deploy/dev
if [ -z "${GITHUB_TOKEN:-}" ]; then # fetch-org and fetch-events are ready all the same, and answer 503: nothing needs to ask them
  pulse delete pingsource sweep-hourly wake-fetch-org wake-fetch-events --ignore-not-found
fi
pulse wait --for condition=Ready --timeout 10m kafkatopics --all
pulse wait --for condition=Ready --timeout 10m services.serving.knative.dev --all
pulse wait --for condition=Ready --timeout 10m kafkasources --all

if [ -z "${GITHUB_TOKEN:-}" ]; then
  step "The recording: waiting until $RECORDED observations are in ClickHouse"
  apply --filename infra/kind/recording.yaml
  pulse wait --for condition=Complete --timeout 15m job/recording
  # The client takes user and password from the container's environment.
  stored() { pulse exec statefulset/clickhouse -- clickhouse-client --query 'SELECT count() FROM pulse.github_metrics_timeseries' 2>/dev/null || true; }
  for ((i = 0; i < 180; i++)); do
    count=$(stored)
    [ "$count" = "$RECORDED" ] && break
    sleep 5
  done
  [ "$count" = "$RECORDED" ] || { echo "ClickHouse holds ${count:-nothing}; see: kubectl --namespace m7pulse get pods" >&2; exit 1; }
  echo "$count"
fi

step "Trino: views over both stores"
pulse exec deployment/trino -- trino --file /etc/trino/views.sql ||
  echo "Trino's views are not made: the functions have no tables yet. Run up.sh again after the first sweep." >&2

cat <<EOF

All of it is up.
Dashboards:  kubectl --context kind-$CLUSTER --namespace m7pulse port-forward service/superset 8088   then http://localhost:8088, user admin, password:
             kubectl --context kind-$CLUSTER --namespace m7pulse get secret m7pulse-servers --output 'go-template={{index .data "SUPERSET_ADMIN_PASSWORD" | base64decode}}'
Trino:       kubectl --context kind-$CLUSTER --namespace m7pulse port-forward service/trino 8080       (catalogs clickhouse, iceberg; views of both in iceberg.pulse)
Down:        infra/kind/down.sh
EOF
if [ -z "${GITHUB_TOKEN:-}" ]; then
  echo "GITHUB_TOKEN is not set: this is the recording. To sweep GitHub instead: infra/kind/down.sh, then GITHUB_TOKEN=… infra/kind/up.sh"
fi
