#!/usr/bin/env bash
# Prepares the Spark side once, in a folder: virtual environment, jars, the Java classes.
# usage: setup.sh FOLDER      needs Python 3, Java 17 with javac, Maven
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
to=${1:?usage: setup.sh FOLDER}
mkdir -p "$to/jars"
to=$(cd "$to" && pwd) # Maven takes a path from where its pom.xml is
[ -x "$to/venv/bin/spark-submit" ] || { python3 -m venv "$to/venv"; "$to/venv/bin/pip" -q install pyspark==4.1.1; }
ls "$to"/jars/clickhouse-jdbc-*-all.jar >/dev/null 2>&1 ||
  mvn -q -B -ntp -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$to/jars"
spark=$("$to/venv/bin/python" -c 'import os,pyspark;print(os.path.dirname(pyspark.__file__))')
classes=$(mktemp -d); trap 'rm -rf "$classes"' EXIT
javac -nowarn -cp "$spark/jars/*:$to/jars/*" -d "$classes" "$here"/java/baseline/*.java
jar cf "$to/jars/baseline.jar" -C "$classes" .
