"""Holds both stores against the suites of this folder, by Great Expectations.

    check.py < ORDER

ORDER is JSON: since, until and fresh_since (times without a zone, UTC), rest (whether no
function has work left), database and timeseries (the table that holds the
observations: the published one or a draft), draft (only what a draft is held against), suites (names; all
that apply if there are none), rows (how many rows of a table of Iceberg are held in
memory at most). In the environment is where the
stores are: CLICKHOUSE_URI, clickhousedb://reader:password@host:port/pulse;
ICEBERG_CATALOG_URI, ICEBERG_WAREHOUSE and S3_*.

On standard output is JSON: a result for each expectation, and what was read. An
expectation that could not be evaluated has failed, with the error. The program fails
only where it cannot say what holds.
"""

import json
import os
import pathlib
import sys
import time
import warnings

os.environ["GX_ANALYTICS_ENABLED"] = "false"
HERE = pathlib.Path(__file__).parent


def fill(order, text):
    """A query with what the order says in its places."""
    for name in ("database", "timeseries", "since", "until"):
        text = text.replace("{" + name + "}", order[name])
    return text


class Read:
    """What was read of the stores: rows and bytes, of ClickHouse as its server counts."""

    def __init__(self):
        self.rows = self.bytes = 0

    def clickhouse(self):
        from sqlalchemy import Engine, event

        @event.listens_for(Engine, "after_cursor_execute")
        def count(_connection, cursor, *_):
            for summary in getattr(cursor, "summary", None) or []:
                self.rows += int(summary.get("read_rows", 0))
                self.bytes += int(summary.get("read_bytes", 0))

    def files(self, tasks):
        for task in tasks:
            self.rows += task.file.record_count
            self.bytes += task.file.file_size_in_bytes


class Hot:
    """ClickHouse, as its reader."""

    def __init__(self, context, order):
        self.order = order
        self.source = context.data_sources.add_sql(name="clickhouse", connection_string="${CLICKHOUSE_URI}")
        self.engine = self.source.get_engine()

    def batch(self, suite):
        query = fill(self.order, suite["asset"])
        return self.source.add_query_asset(name=suite["name"], query=query).add_batch_definition_whole_table("all"), {}

    def days(self):
        from sqlalchemy import text

        with self.engine.connect() as connection:
            return connection.execute(text(fill(self.order, 
                "SELECT toString(toDate(observed_at)) AS day, toInt64(count()) AS hot_rows, toInt64(sum(repo_id % 1000003)) AS hot_repositories, toInt64(sum(stars)) AS hot_stars,"
                " toInt64(sum(ifNull(stars_delta_7d, 0))) AS hot_deltas FROM {database}.{timeseries} WHERE observed_at >= '{since}' AND processed_at <= '{until}' GROUP BY day"))).fetchall()


def catalog():
    """The catalog of Iceberg, by the environment."""
    from pyiceberg.catalog import load_catalog

    address = os.environ["ICEBERG_CATALOG_URI"]
    options = {"warehouse": os.environ.get("ICEBERG_WAREHOUSE", "")}
    if address.startswith("sqlite://"):
        options |= {"type": "sql", "uri": "sqlite:///" + address.removeprefix("sqlite://")}
    else:
        options |= {"type": "rest", "uri": address}
    for name, variable in {"s3.endpoint": "S3_ENDPOINT", "s3.region": "S3_REGION", "s3.access-key-id": "S3_ACCESS_KEY_ID", "s3.secret-access-key": "S3_SECRET_ACCESS_KEY"}.items():
        if value := os.environ.get(variable):
            options[name] = value
    # The name is a part of the keys of the SQL catalog.
    return load_catalog("m7pulse", **options)


class Cold:
    """Iceberg. The newest files are read first, and no more than fit into memory."""

    def __init__(self, context, order, read):
        self.order, self.read = order, read
        self.frames = context.data_sources.add_pandas("iceberg")
        self.catalog = catalog()

    def scan(self, table, columns, condition):
        scan = self.catalog.load_table("github." + table).scan(row_filter=condition, selected_fields=tuple(columns))
        self.read.files(scan.plan_files())
        return scan

    def batch(self, suite):
        from pyiceberg.expressions import GreaterThanOrEqual

        # Whole days, the newest first, up to the limit.
        since = self.order["since"]
        scan = self.catalog.load_table("github." + suite["table"]).scan(row_filter=GreaterThanOrEqual("observed_at", since + "+00:00"), selected_fields=tuple(suite["columns"]))
        rows = sum(task.file.record_count for task in scan.plan_files())
        if rows > self.order["rows"]:
            since = self.newest(suite["table"], rows)
        frame = self.scan(suite["table"], suite["columns"], GreaterThanOrEqual("observed_at", since + "+00:00")).to_arrow().to_pandas()
        for name in frame.select_dtypes("datetimetz"):
            frame[name] = frame[name].dt.tz_localize(None)
        return self.frames.add_dataframe_asset(suite["name"]).add_batch_definition_whole_dataframe("all"), {"dataframe": frame}

    def newest(self, table, rows):
        """The day since which there are no more rows than the limit, taken as even over the days."""
        import datetime

        since = datetime.datetime.fromisoformat(self.order["since"])
        until = datetime.datetime.fromisoformat(self.order["until"])
        return (until - (until - since) * (self.order["rows"] / rows)).isoformat(timespec="seconds")

    def days(self, table, columns):
        """Rows and sums of each day, by one pass over batches: memory does not grow with the table."""
        import numpy
        import pyarrow as pa
        import pyarrow.compute as pc
        from pyiceberg.expressions import And, GreaterThanOrEqual, LessThanOrEqual

        condition = GreaterThanOrEqual("observed_at", self.order["since"] + "+00:00")
        wanted = ["observed_at", *columns]
        if table == "processed_repos":
            condition = And(condition, LessThanOrEqual("processed_at", self.order["until"] + "+00:00"))
            wanted.append("processed_at")
        sums = {}
        for batch in self.scan(table, wanted, condition).to_arrow_batch_reader():
            columns_of = {"day": pc.strftime(batch["observed_at"], "%Y-%m-%d")} | {c: batch[c] for c in columns}
            if "repo_id" in columns:
                columns_of["repo_id"] = pa.array(numpy.fmod(batch["repo_id"].to_numpy(), 1000003))
            grouped = pa.table(columns_of).group_by("day").aggregate([([], "count_all"), *((c, "sum") for c in columns)])
            for row in grouped.to_pylist():
                have = sums.setdefault(row["day"], [0] * (1 + len(columns)))
                for i, name in enumerate(["count_all", *(c + "_sum" for c in columns)]):
                    have[i] += row[name] or 0
        return sums


class Both:
    """A row for each day, with what either store has of it."""

    def __init__(self, context, hot, cold):
        self.hot, self.cold = hot, cold
        self.frames = context.data_sources.add_pandas("both")

    def batch(self, suite):
        import pandas

        raw = self.cold.days("base_repos", [])
        cold = self.cold.days("processed_repos", ["repo_id", "stars", "stars_delta_7d"])
        hot = {row[0]: list(row[1:]) for row in self.hot.days()}
        rows = []
        for day in sorted(raw.keys() | cold.keys() | hot.keys()):
            h, c, r = hot.get(day, [0] * 4), cold.get(day, [0] * 4), raw.get(day, [0])
            if self.partial(r, c, day):
                r = c
            rows.append([day, *h, *c, r[0]])
        frame = pandas.DataFrame(rows, columns=["day", "hot_rows", "hot_repositories", "hot_stars", "hot_deltas", "cold_rows", "cold_repositories", "cold_stars", "cold_deltas", "raw_rows"])
        return self.frames.add_dataframe_asset(suite["name"]).add_batch_definition_whole_dataframe("all"), {"dataframe": frame}

    def partial(self, raw, cold, day):
        """Of the day that is running, raw has what was not processed by the time that is looked at."""
        return not self.cold.order["rest"] and day >= self.cold.order["until"][:10] and raw[0] > cold[0]


class Stores:
    """The stores, each opened when a suite first needs it."""

    def __init__(self, context, order, read):
        self.context, self.order, self.read, self.open = context, order, read, {}

    def of(self, name):
        if name not in self.open:
            if name == "clickhouse":
                self.open[name] = Hot(self.context, self.order)
            elif name == "iceberg":
                self.open[name] = Cold(self.context, self.order, self.read)
            else:
                self.open[name] = Both(self.context, self.of("clickhouse"), self.of("iceberg"))
        return self.open[name]


def suites(order):
    from ruamel.yaml import YAML

    for path in sorted((HERE / "suites").glob("*.yaml")):
        suite = YAML(typ="safe").load(path.read_text())
        suite["name"] = path.stem
        if order["suites"] and path.stem not in order["suites"] or order["draft"] and not suite.get("draft"):
            continue
        suite["expectations"] = [e for e in suite["expectations"] if not (order["draft"] and e.get("published"))]
        yield suite


def evaluate(context, order, suite, stores):
    """The results of a suite, in its order."""
    import great_expectations as gx
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    expectations = []
    for e in suite["expectations"]:
        kwargs = json.loads(json.dumps(e["kwargs"]))
        if "unexpected_rows_query" in kwargs:
            # Not Great Expectations' own {batch}: it has an alias already, and a query can take it only once.
            kwargs["unexpected_rows_query"] = fill(order, kwargs["unexpected_rows_query"].replace("{asset}", f"({suite['asset'].strip()})"))
        expectations.append(ExpectationConfiguration(type=e["type"], kwargs=kwargs, meta={"id": e["id"]}, description=e["says"], severity=e["severity"]))
    began = time.monotonic()
    try:
        batch, parameters = stores.of(suite["store"]).batch(suite)
        of = gx.ExpectationSuite(name=suite["name"], expectations=expectations)
        definition = gx.ValidationDefinition(name=suite["name"], data=batch, suite=context.suites.add(of))
        parameters_of_suite = {"fresh_since": order["fresh_since"], "until": order["until"]}
        outcome = context.validation_definitions.add(definition).run(batch_parameters=parameters, expectation_parameters=parameters_of_suite, result_format="SUMMARY")
        results = {r.expectation_config.meta["id"]: r for r in outcome.results}
        failure = ""
    except Exception as error:  # the store is away, or a table is missing: each expectation of it has failed
        results, failure = {}, f"{type(error).__name__}: {error}"
    took = time.monotonic() - began
    for e in suite["expectations"]:
        out = {"suite": suite["name"], "expectation": e["id"], "store": suite["store"], "severity": e["severity"], "says": e["says"], "seconds": took / len(suite["expectations"])}
        result = results.get(e["id"])
        error = failure or raised(result)
        detail = result.result if result else {}
        out |= {"passed": bool(result and result.success and not error), "error": error[:1000], "observed": text(detail.get("observed_value")),
                "unexpected": number(detail.get("unexpected_count")), "checked": number(detail.get("element_count")), "examples": examples(detail)}
        yield out


def raised(result):
    info = (result.exception_info if result else None) or {}
    if "raised_exception" in info:
        info = {"": info}
    return "; ".join(str(i.get("exception_message")) for i in info.values() if i.get("raised_exception"))


def number(value):
    return None if value is None else int(value)


def text(value):
    return "" if value is None else str(value)[:200]


def examples(detail):
    """A few of what was not expected, as text."""
    rows = (detail.get("details") or {}).get("unexpected_rows") or detail.get("partial_unexpected_list") or []
    return [str(row)[:200] for row in list(rows)[:5]]


def main():
    began = time.monotonic()
    order, out = json.load(sys.stdin), sys.stdout
    sys.stdout = open(os.devnull, "w")  # Great Expectations prints
    import logging

    logging.disable(logging.WARNING)
    import great_expectations as gx

    warnings.simplefilter("ignore")  # after the import, which sets filters
    from great_expectations.data_context.types.base import ProgressBarsConfig

    loaded = time.monotonic()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    read = Read()
    read.clickhouse()
    stores = Stores(context, order, read)
    results = [result for suite in suites(order) for result in evaluate(context, order, suite, stores)]
    json.dump({"results": results, "read_rows": read.rows, "read_bytes": read.bytes, "load_seconds": loaded - began, "seconds": time.monotonic() - began}, out)


if __name__ == "__main__":
    main()
