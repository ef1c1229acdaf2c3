#!/usr/bin/env bash
# Brings all of M7 Pulse up with Docker Compose, and returns when it answers. Safe
# to repeat. The first time it makes passwords, in .env beside this file.
set -euo pipefail
cd "$(dirname "$0")"

docker compose version >/dev/null || { echo "Docker with its compose plugin is needed" >&2; exit 1; }
if [ ! -f .env ]; then
  umask 077
  for name in REDIS_PASSWORD CLICKHOUSE_PASSWORD CLICKHOUSE_READER_PASSWORD S3_ACCESS_KEY_ID S3_SECRET_ACCESS_KEY SUPERSET_SECRET_KEY SUPERSET_ADMIN_PASSWORD; do
    printf '%s=%s\n' "$name" "$(od -An -N20 -tx1 /dev/urandom | tr -d ' \n')"
  done >.env.new
  mv .env.new .env
  echo "Passwords made: infra/compose/.env"
fi
docker compose config --quiet
echo "Building and starting; it waits until every server and the dashboards answer (the first time up to a quarter of an hour) …"
docker compose up --build --detach --wait --wait-timeout 1800
docker compose exec -T trino trino --file /etc/trino/views.sql ||
  echo "Trino's views are not made: the functions have no tables yet. Run up.sh again after the first sweep." >&2
cat <<'EOF'
Dashboards:  http://localhost:8088 (admin; the password is SUPERSET_ADMIN_PASSWORD in infra/compose/.env)
Trino:       http://localhost:8080 (catalogs clickhouse, iceberg; views of both in iceberg.pulse)
Commands:    docker compose -f infra/compose/compose.yaml exec functions /m7pulse/bin/pulse status
Down:        docker compose -f infra/compose/compose.yaml down     (--volumes deletes the data too)
EOF
if [ -z "${GITHUB_TOKEN:-$(sed -n 's/^GITHUB_TOKEN=//p' .env)}" ]; then
  echo "GITHUB_TOKEN is not set: this is the recording. To sweep GitHub instead: the line above with --volumes, then GITHUB_TOKEN=… infra/compose/up.sh"
fi
