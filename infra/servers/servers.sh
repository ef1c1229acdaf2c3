#!/usr/bin/env bash
# Real servers without Docker, for tests on one machine: no TLS, loopback only.
#
#   servers.sh install|start|stop|status|wipe [kafka|registry|minio|nessie|trino|connect …]
#
# start installs what is missing, waits until the server answers, and does
# nothing when it runs. wipe stops and deletes data; downloads stay. Without
# names the first five, in the order in which they need each other. connect is a
# worker of Kafka Connect with the CONNECTORS of infra/connect, archive unless set.
#
# SERVERS_DIR is where all of it is; SERVERS_HOST is the address that they listen on
# and are known by, 127.0.0.1 unless it is set; KAFKA_PORT, KAFKA_CONTROLLER_PORT,
# REGISTRY_PORT, MINIO_PORT, NESSIE_PORT, TRINO_PORT, CONNECT_PORT move them (the registry and
# Nessie take the next port too). JAVA is a Java of 24 or newer, else the newest
# under /usr/lib/jvm or on PATH. Trino takes infra/trino and what its files name:
# CLICKHOUSE_JDBC_URL, CLICKHOUSE_READER, CLICKHOUSE_READER_PASSWORD.
#
# Exit codes: 1 a server failed, 2 wrong use, 3 not running (status), 4 it cannot
# be installed here: a tool is missing or a package source out of reach.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
home=${SERVERS_DIR:-$HOME/.cache/m7pulse/servers}
: "${SERVERS_HOST:=127.0.0.1}" "${KAFKA_PORT:=19092}" "${KAFKA_CONTROLLER_PORT:=19093}" "${REGISTRY_PORT:=18481}" "${MINIO_PORT:=19000}" "${NESSIE_PORT:=19120}" "${TRINO_PORT:=18080}" "${CONNECT_PORT:=18083}"
export S3_ACCESS_KEY_ID=${S3_ACCESS_KEY_ID:-minioadmin} S3_SECRET_ACCESS_KEY=${S3_SECRET_ACCESS_KEY:-minioadmin}
export S3_ENDPOINT=http://$SERVERS_HOST:$MINIO_PORT S3_REGION=us-east-1 ICEBERG_CATALOG_URI=http://$SERVERS_HOST:$NESSIE_PORT/iceberg/main

# Versions and sha256; that of Kafka and Connect is of the list of their jars' sums.
# MinIO's sums are kept by Go's checksum database.
KAFKA=4.3.1 KAFKA_SUM=c3ab63209f2582ea037a108aee3ae58bd3b639a4816f72600e678629e15f8369
REGISTRY=3.3.3 REGISTRY_SUM=8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63
NESSIE=0.99.0 NESSIE_SUM=ce9fa33e2878bf5ea3981876b9e6204cabc0362b3dd82326b10e47271a78c417
TRINO=476 TRINO_SUM=cfd5accde17e8ebd251eeeb78aed1f490e77bb3a164d95a0f454bf8a7c1cbd3f
ICEBERG=1.12.0 HADOOP=3.4.2 APICURIO=2.6.13.Final CONNECT_SUM=08bfba4fbbebe5f61c123ace536c95fd22cd143cdde5a05c0c18fdb0eeb776b6
MINIO=v0.0.0-20260212201848-7aac2a2c5b7c

name=servers
fail() { echo "$name: $*" >&2; exit 1; }
unavailable() { echo "$name: cannot be installed here: $*" >&2; exit 4; }

major() { "$1" -XshowSettings:properties -version 2>&1 | sed -n 's/ *java.specification.version = //p'; }
# java OLDEST: prints the newest Java that is not older.
java() {
  local candidate best='' version newest=0
  for candidate in ${JAVA:-/usr/lib/jvm/*/bin/java "$(command -v java || true)"}; do
    [ -x "$candidate" ] || continue
    version=$(major "$candidate")
    if [ "${version%%.*}" -ge "$1" ] && [ "${version%%.*}" -gt "$newest" ]; then best=$candidate newest=${version%%.*}; fi
  done
  [ -n "$best" ] || unavailable "it needs Java $1 or newer"
  echo "$best"
}

maven() {
  command -v mvn >/dev/null || unavailable "it needs Maven"
  mvn -q -B -ntp -C -Dstyle.color=never "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:$1" "${@:2}" || unavailable "Maven could not fetch it"
}
# fetch COORDINATES SHA256: into $dir/new, which the caller moves into place.
fetch() {
  rm -rf "$dir/new"
  maven copy -Dartifact="$1" -DoutputDirectory="$dir/new" -Dmdep.useBaseVersion=true
  echo "$2  $(echo "$dir"/new/*)" | sha256sum --check --quiet || fail "$1 is not the file that is pinned"
}

install_kafka() {
  [ -d "$dir/$KAFKA" ] && return
  rm -rf "$dir/new"
  maven copy-dependencies -f "$root/infra/servers/kafka.xml" -Dkafka="$KAFKA" -DincludeScope=runtime -DoutputDirectory="$dir/new"
  local sum
  sum=$(cd "$dir/new" && LC_ALL=C sha256sum -- *.jar | sha256sum | cut -d' ' -f1)
  [ "$sum" = "$KAFKA_SUM" ] || fail "its jars are not those that are pinned: $sum"
  mv "$dir/new" "$dir/$KAFKA"
}
install_registry() {
  [ -d "$dir/$REGISTRY" ] && return
  fetch "io.apicurio:apicurio-registry-app:$REGISTRY:tar.gz:all" "$REGISTRY_SUM"
  unpack "$REGISTRY" 0
}
install_nessie() {
  [ -d "$dir/$NESSIE" ] && return
  fetch "org.projectnessie.nessie:nessie-quarkus:$NESSIE:jar:runner" "$NESSIE_SUM"
  mv "$dir/new" "$dir/$NESSIE"
}
install_trino() {
  [ -d "$dir/$TRINO" ] && return
  java 24 >/dev/null
  fetch "io.trino:trino-server:$TRINO:tar.gz" "$TRINO_SUM"
  unpack "$TRINO" 1
}
install_connect() {
  [ -d "$dir/$KAFKA-$ICEBERG" ] && return
  rm -rf "$dir/new"
  local part sum
  for part in worker plugins/iceberg plugins/apicurio; do
    maven copy-dependencies -f "$root/infra/connect/${part##*/}.xml" -Dkafka="$KAFKA" -Diceberg="$ICEBERG" -Dhadoop="$HADOOP" -Dapicurio="$APICURIO" \
      -DincludeScope=runtime -DoutputDirectory="$dir/new/$part"
  done
  sum=$(cd "$dir/new" && find . -name '*.jar' | LC_ALL=C sort | xargs sha256sum -- | sha256sum | cut -d' ' -f1)
  [ "$sum" = "$CONNECT_SUM" ] || fail "its jars are not those that are pinned: $sum"
  mv "$dir/new" "$dir/$KAFKA-$ICEBERG"
}
unpack() {
  mkdir "$dir/new/unpacked"
  tar xzf "$dir"/new/*.tar.gz -C "$dir/new/unpacked" --strip-components "$2"
  mv "$dir/new/unpacked" "$dir/$1"
  rm -rf "$dir/new"
}
install_minio() {
  [ -x "$dir/$MINIO/minio" ] && return
  command -v go >/dev/null || unavailable "it needs Go"
  (cd "$dir" && GOFLAGS=-mod=mod GOWORK=off GOBIN="$dir/new" go install "github.com/minio/minio@$MINIO") || unavailable "Go could not build it"
  mv "$dir/new" "$dir/$MINIO"
}

# Each leaves its process in the background, and its ready_ says when it answers.
start_kafka() {
  free "$KAFKA_PORT" "$KAFKA_CONTROLLER_PORT"
  sed -e "s/@host@/$SERVERS_HOST/g" -e "s/@port@/$KAFKA_PORT/" -e "s/@controller@/$KAFKA_CONTROLLER_PORT/" -e "s|@data@|$dir/data|" "$root/infra/servers/kafka.properties" >"$dir/server.properties"
  [ -f "$dir/data/meta.properties" ] || kafka kafka.tools.StorageTool format -t "$(kafka kafka.tools.StorageTool random-uuid)" -c "$dir/server.properties" >/dev/null
  launch "$(java 17)" "$mark" -Xmx512m -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$dir/$KAFKA/*" kafka.Kafka "$dir/server.properties"
}
kafka() { "$(java 17)" -Xmx256m -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$dir/$KAFKA/*" "$@"; }
ready_kafka() { (exec 3<>"/dev/tcp/$SERVERS_HOST/$KAFKA_PORT") && kafka org.apache.kafka.tools.TopicCommand --bootstrap-server "$SERVERS_HOST:$KAFKA_PORT" --list; }

start_registry() {
  free "$REGISTRY_PORT" $((REGISTRY_PORT + 1))
  cd "$dir/$REGISTRY"
  # Without its rule Apicurio takes every schema.
  launch "$(java 21)" "$mark" -Xmx384m "-Dquarkus.http.host=$SERVERS_HOST" "-Dquarkus.http.port=$REGISTRY_PORT" \
    "-Dquarkus.management.host=$SERVERS_HOST" "-Dquarkus.management.port=$((REGISTRY_PORT + 1))" -Djava.util.logging.manager=org.jboss.logmanager.LogManager \
    -Dapicurio.storage.kind=sql -Dapicurio.storage.sql.kind=h2 -Dapicurio.rules.global.compatibility=BACKWARD -jar quarkus-run.jar
}
ready_registry() { curl -fsm 5 "http://$SERVERS_HOST:$REGISTRY_PORT/apis/ccompat/v7/subjects"; }

start_minio() {
  free "$MINIO_PORT"
  mkdir -p "$dir/data/warehouse" # a folder here is a bucket
  export MINIO_ROOT_USER=$S3_ACCESS_KEY_ID MINIO_ROOT_PASSWORD=$S3_SECRET_ACCESS_KEY MINIO_BROWSER=off
  launch "$dir/$MINIO/minio" server --address "$SERVERS_HOST:$MINIO_PORT" "$dir/data"
}
ready_minio() { curl -fsm 5 "http://$SERVERS_HOST:$MINIO_PORT/minio/health/ready"; }

# The catalog is in memory: stopped it is empty, and MinIO is to be wiped too.
start_nessie() {
  free "$NESSIE_PORT" $((NESSIE_PORT + 1))
  export M7PULSE_S3_NAME=$S3_ACCESS_KEY_ID M7PULSE_S3_SECRET=$S3_SECRET_ACCESS_KEY # m7pulse.s3.name, .secret
  launch "$(java 21)" "$mark" -Xmx512m "-Dquarkus.http.host=$SERVERS_HOST" "-Dquarkus.http.port=$NESSIE_PORT" \
    "-Dquarkus.management.host=$SERVERS_HOST" "-Dquarkus.management.port=$((NESSIE_PORT + 1))" \
    -Dnessie.version.store.type=IN_MEMORY -Dnessie.server.authentication.enabled=false \
    -Dnessie.catalog.default-warehouse=warehouse -Dnessie.catalog.warehouses.warehouse.location=s3://warehouse/ \
    "-Dnessie.catalog.service.s3.default-options.endpoint=$S3_ENDPOINT/" -Dnessie.catalog.service.s3.default-options.path-style-access=true \
    -Dnessie.catalog.service.s3.default-options.region=us-east-1 -Dnessie.catalog.service.s3.default-options.access-key=urn:nessie-secret:quarkus:m7pulse.s3 \
    -Dnessie.catalog.service.s3.default-options.request-signing-enabled=false \
    -jar "$dir/$NESSIE/nessie-quarkus-$NESSIE-runner.jar"
}
ready_nessie() { curl -fsm 5 "http://$SERVERS_HOST:$NESSIE_PORT/api/v2/config" && curl -fsm 5 "http://$SERVERS_HOST:$((NESSIE_PORT + 1))/q/health"; }

start_trino() {
  free "$TRINO_PORT"
  : "${CLICKHOUSE_JDBC_URL:?of the ClickHouse that Trino reads, jdbc:clickhouse://host:port/}" "${CLICKHOUSE_READER_PASSWORD:?of the reader}"
  export CLICKHOUSE_JDBC_URL CLICKHOUSE_READER_PASSWORD CLICKHOUSE_READER=${CLICKHOUSE_READER:-reader}
  rm -rf "${dir:?}/etc"
  mkdir -p "$dir/etc/catalog" "$dir/etc/plugin" "$dir/data"
  cp "$root"/infra/trino/{clickhouse,iceberg}.properties "$dir/etc/catalog/"
  cp "$root"/infra/trino/{access-control.properties,rules.json} "$dir/etc/"
  ln -s "$dir/$TRINO/plugin/iceberg" "$dir/$TRINO/plugin/clickhouse" "$dir/etc/plugin/" # all 55 would start more slowly
  cat >"$dir/etc/config.properties" <<P
coordinator=true
node-scheduler.include-coordinator=true
http-server.http.port=$TRINO_PORT
node.internal-address=$SERVERS_HOST
discovery.uri=http://$SERVERS_HOST:$TRINO_PORT
query.max-memory=500MB
query.max-memory-per-node=500MB
memory.heap-headroom-per-node=200MB
plugin.dir=$dir/etc/plugin
P
  cd "$dir"
  launch "$(java 24)" "$mark" -Xmx1g -XX:+UseG1GC -XX:ReservedCodeCacheSize=256M -Djdk.attach.allowAttachSelf=true -XX:+EnableDynamicAgentLoading \
    --add-modules=jdk.incubator.vector --enable-native-access=ALL-UNNAMED --sun-misc-unsafe-memory-access=allow \
    "-Dconfig=$dir/etc/config.properties" -Dnode.environment=m7pulse -Dnode.id=m7pulse "-Dnode.data-dir=$dir/data" "-Dnode.bind-ip=$SERVERS_HOST" \
    "-Dcatalog.config-dir=$dir/etc/catalog" -cp "$dir/$TRINO/lib/*" io.trino.server.TrinoServer
}
ready_trino() { curl -fsm 5 "http://$SERVERS_HOST:$TRINO_PORT/v1/info" | grep -q '"starting":false'; }

# The transformation is compiled at each start, so that it is the one that is here.
start_connect() {
  free "$CONNECT_PORT"
  local in=$root/infra/connect at=$dir/$KAFKA-$ICEBERG connector
  rm -rf "$at/plugins/m7pulse"
  "$(dirname "$(java 17)")/javac" --release 17 -d "$at/plugins/m7pulse" -cp "$at/worker/*" "$in"/transform/dev/m7pulse/*.java || fail "the transformation does not compile"
  cp -r "$in/transform/META-INF" "$at/plugins/m7pulse/"
  export KAFKA_BROKERS=$SERVERS_HOST:$KAFKA_PORT CONNECT_LISTENER=http://$SERVERS_HOST:$CONNECT_PORT \
    CONNECT_COMMIT_MS=${CONNECT_COMMIT_MS:-60000} ARCHIVE_TABLE=${ARCHIVE_TABLE:-archive.records} APICURIO_URL=http://$SERVERS_HOST:$REGISTRY_PORT/apis/registry/v2
  "$(java 17)" -Xmx256m -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$home/kafka/$KAFKA/*" org.apache.kafka.tools.TopicCommand \
    --bootstrap-server "$KAFKA_BROKERS" --create --if-not-exists --topic connect.iceberg --partitions 1 || fail "connect.iceberg was not made"
  cd "$at"
  set --
  for connector in ${CONNECTORS:-archive}; do set -- "$@" "$in/$connector.properties"; done
  launch "$(java 17)" "$mark" -Xmx768m -XX:+ExitOnOutOfMemoryError -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Daws.region="$S3_REGION" -cp "$at/worker/*" \
    org.apache.kafka.connect.cli.ConnectStandalone "$in/worker.properties" "$@"
}
ready_connect() {
  local connector
  for connector in ${CONNECTORS:-archive}; do
    curl -fsm 5 "http://$SERVERS_HOST:$CONNECT_PORT/connectors/$connector/status" | grep -q '"tasks":\[{"id":0,"state":"RUNNING"'
  done
}

free() {
  local port
  for port in "$@"; do
    if (exec 3<>"/dev/tcp/$SERVERS_HOST/$port") 2>/dev/null; then fail "port $port is taken"; fi
  done
}
launch() {
  setsid "$@" >"$dir/log" 2>&1 </dev/null 9>&- &
  echo "$!" >"$dir/pid"
}
# A process is ours when it runs with our mark: a number may be another's by now.
alive() { [ -s "$dir/pid" ] && ps -ww -o args= -p "$(<"$dir/pid")" 2>/dev/null | grep -qF -- "$mark"; }
started() { kill -0 "$(<"$dir/pid")" 2>/dev/null; }

start() {
  local began=$SECONDS
  if alive; then echo "$name: runs already"; return; fi
  "install_$name"
  "start_$name"
  until "ready_$name" >/dev/null 2>&1; do
    if ! started; then tail -n 30 "$dir/log" >&2; fail "ended while starting"; fi
    if ((SECONDS - began > 300)); then tail -n 30 "$dir/log" >&2; stop; fail "no answer in 300 s"; fi
    sleep 0.3
  done
  echo "$name: answers after $((SECONDS - began)) s"
}
stop() {
  local i pid
  if alive; then
    pid=$(<"$dir/pid")
    kill "$pid"
    for ((i = 0; i < 200; i++)); do alive || break; sleep 0.1; done
    if alive; then kill -9 "$pid"; fi
  fi
  rm -f "$dir/pid"
}
status() {
  if ! alive; then echo "$name: down"; return 3; fi
  echo "$name: up, pid $(<"$dir/pid"), $(($(ps -o rss= -p "$(<"$dir/pid")") / 1024)) MB"
}

command=${1:-}
case $command in install | start | stop | status | wipe) ;; *) sed -n '4p' "$0" >&2; exit 2 ;; esac
shift
[ $# != 0 ] || set -- kafka registry minio nessie trino
names=("$@")
if [ "$command" = stop ] || [ "$command" = wipe ]; then mapfile -t names < <(printf '%s\n' "$@" | tac); fi
code=0
for name in "${names[@]}"; do
  case $name in kafka | registry | minio | nessie | trino | connect) ;; *) sed -n '4p' "$0" >&2; exit 2 ;; esac
  dir=$home/$name mark=-Dm7pulse.server=$home/$name
  if [ "$name" = minio ]; then mark="$dir/$MINIO/minio server"; fi
  mkdir -p "$dir"
  case $command in
    install) "install_$name" ;;
    wipe) stop; rm -rf "$dir/data" "$dir/log" ;;
    status) status || code=3 ;;
    *) "$command" ;;
  esac
done
[ "$code" = 0 ] || exit "$code"
