"""Proves the suites: each expectation fails on a fault that is planted for it, and holds
without it.

    faults.py [EXPECTATION...]

It needs a stack with the recording (make quality-test): CLICKHOUSE_URL of a user who may
make a database, and the variables of check.py. Faults are planted in copies: a database
of ClickHouse, and a catalog of Iceberg in a folder of its own. It prints what each
expectation said, and fails if one did not say what it must.
"""

import contextlib
import datetime
import json
import os
import sys
import tempfile

import check

SINCE, COPY = "2025-11-15T00:00:00", "quality_faults"
NOW = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").removesuffix("+00:00")
ORDER = {"since": SINCE, "until": NOW, "fresh_since": "2025-12-30T22:00:00", "rest": True, "database": COPY, "timeseries": "github_metrics_timeseries", "draft": False, "suites": [], "rows": 2_000_000}
SERIES, DAILY, STATE = COPY + ".github_metrics_timeseries", COPY + ".github_daily", COPY + ".github_processed_repos"
SIGNALS, EVENTS, SWEEPS = COPY + ".github_signals", COPY + ".github_events", COPY + ".sweeps"
# What is copied of each table, and by which it is copied again after a fault.
COPIED = {SERIES: f"observed_at >= '{SINCE}'", DAILY: f"day >= '{SINCE[:10]}'", STATE: "1", SIGNALS: "1", EVENTS: "1", SWEEPS: "1"}
NEWEST = "observed_at = '2025-12-31 00:00:00'"


def again(table, change, where=NEWEST):
    """One row of a table again, with a change."""
    # In a query of its own: a condition would be of the changed values.
    return f"INSERT INTO {table} SELECT * REPLACE ({change}) FROM (SELECT * FROM {table.replace(COPY, 'pulse')} WHERE {where} LIMIT 1)"


def altered(table, change, where=NEWEST):
    """One row of a table in another form, instead of the one that was there."""
    key = f"(SELECT min(repo_id) FROM {table.replace(COPY, 'pulse')} WHERE {where})"
    return [again(table, change, f"{where} AND repo_id = {key}"), f"DELETE FROM {table} WHERE {where} AND repo_id = {key} AND NOT ({unlike(change)})"]


def unlike(change):
    value, _, name = change.rpartition(" AS ")
    return f"ifNull({name} = {value}, false)" if value != "NULL" else f"isNull({name})"


def sweep(**fields):
    row = {"sweep_id": "'2025-12-31T00:00:00Z'", "owner": "'acme'", "status": "'complete'", "started_at": "toDateTime64('2025-12-31 00:00:00', 3)",
           "finished_at": "toDateTime64('2025-12-31 00:10:00', 3)", "expected": "100", "seen": "100"} | fields
    return f"INSERT INTO {SWEEPS} ({', '.join(row)}) SELECT {', '.join(row.values())}"


def event(**fields):
    row = {"event_type": "'WatchEvent'", "event_id": "1", "created_at": "toDateTime64('2025-12-30 12:00:00', 3)", "repo_id": f"(SELECT min(repo_id) FROM {STATE})", "name_with_owner": "'acme/x'",
           "owner": "'acme'", "actor_is_bot": "false", "observed_at": "toDateTime64('2025-12-31 00:00:00', 3)", "source": "'rest'"} | fields
    return f"INSERT INTO {EVENTS} ({', '.join(row)}) SELECT {', '.join(row.values())}"


def signals(**fields):
    return again(SIGNALS, ", ".join(f"{value} AS {name}" for name, value in fields.items()), "isNotNull(repo_id)")


def covered():
    """A repository whose counters rose by 1,000 forks in a day, with one event of them and readings of its feed around it."""
    repo = "(SELECT min(repo_id) FROM pulse.github_daily WHERE day = '2025-12-30' AND repo_id IN (SELECT repo_id FROM pulse.github_daily WHERE day = '2025-12-31'))"
    return [
        f"INSERT INTO {DAILY} SELECT * REPLACE (forks + 1000 AS forks, version + 1 AS version) FROM pulse.github_daily FINAL WHERE day = '2025-12-31' AND repo_id = {repo}",
        event(event_type="'ForkEvent'", repo_id=repo),
        event(event_type="'WatchEvent'", event_id="2", repo_id=repo, created_at="toDateTime64('2025-12-01 00:00:00', 3)"),
        event(event_type="'WatchEvent'", event_id="3", repo_id=repo, created_at="toDateTime64('2026-01-01 12:00:00', 3)"),
    ]


# What is planted in ClickHouse for each expectation.
HOT = {
    "hot_rows": [f"TRUNCATE TABLE {SERIES}"],
    "hot_key": [again(SERIES, "revision AS revision")],
    "hot_stars_range": [again(SERIES, "-1 AS stars")],
    "hot_counters_range": [again(SERIES, "-1 AS merged_prs")],
    "hot_forks_known": [f"INSERT INTO {SERIES} SELECT * REPLACE (NULL AS forks) FROM pulse.github_metrics_timeseries WHERE {COPIED[SERIES]} LIMIT 1000"],
    "hot_owner_types": [again(SERIES, "'Robot' AS owner_type")],
    "hot_names": [again(SERIES, "'react' AS name_with_owner")],
    "hot_fresh": [f"DELETE FROM {SERIES} WHERE observed_at > '2025-12-28 00:00:00'"],
    "hot_bases": [again(SERIES, "observed_at + INTERVAL 1 DAY AS base_at_7d")],
    "hot_deltas": altered(SERIES, "1000000 AS stars_delta_7d", NEWEST + " AND isNotNull(base_at_7d)"),
    "hot_falls": altered(SERIES, "1 AS stars"),
    "hot_commits_fall": [again(SERIES, "5000 AS commits_total, 999 AS repo_id"), again(SERIES, "7 AS commits_total, 999 AS repo_id, observed_at + INTERVAL 1 HOUR AS observed_at")],
    "hot_processed_after": [again(SERIES, "observed_at - INTERVAL 1 DAY AS processed_at")],
    "day_rates": [f"INSERT INTO {DAILY} SELECT * REPLACE (stars_per_day_7d + 1 AS stars_per_day_7d, version + 1 AS version) FROM pulse.github_daily FINAL WHERE {NEWEST} AND isNotNull(stars_per_day_7d) LIMIT 1"],
    "day_repositories": [f"DELETE FROM {DAILY} WHERE day = '2025-12-31' AND repo_id % 3 != 0"],
    "day_observed": [f"DELETE FROM {SERIES} WHERE {NEWEST} AND repo_id = (SELECT min(repo_id) FROM pulse.github_daily WHERE {NEWEST})"],
    "state_newest": [again(SERIES, "observed_at + INTERVAL 1 HOUR AS observed_at")],
    "state_of_each": [again(SERIES, "999 AS repo_id")],
    "state_names": [again(STATE, "999 AS repo_id")],
    "state_owner": [again(STATE, "'another' AS owner, version + 1 AS version")],
    "sweep_statuses": [sweep(status="'half'")],
    "sweep_complete": [sweep(seen="90")],
    "sweep_times": [sweep(finished_at="toDateTime64('2025-12-30 00:00:00', 3)")],
    "sweep_repositories": [again(SERIES, "'graphql' AS source, '2025-12-01T00:00:00Z' AS sweep_id", "observed_at = '2025-12-01 00:00:00'")],
    "signal_severities": [signals(severity="'terrible'", signal_id="'x'", observed_at="toDateTime64('2025-12-31 00:00:00', 3)")],
    "signal_repositories": [signals(repo_id="999", signal_id="'x'", observed_at="toDateTime64('2025-12-31 00:00:00', 3)")],
    "event_coverage": covered(),
    "event_key": [event(), event()],
    "event_repositories": [event(repo_id="999")],
    "hot_is_cold_rows": [again(SERIES, "999 AS repo_id")],
    "hot_is_cold_repositories": altered(SERIES, "999 AS repo_id"),
    "hot_is_cold_stars": altered(SERIES, "77 AS stars"),
    "hot_is_cold_deltas": altered(SERIES, "7777 AS stars_delta_7d", NEWEST + " AND isNotNull(stars_delta_7d)"),
}


def cell(column, value):
    """A table with another value in one row, the newest."""

    def plant(table):
        rows = table.to_pylist()
        newest = max(range(len(rows)), key=lambda i: rows[i]["observed_at"])
        rows[newest][column] = value(rows[newest]) if callable(value) else value
        return rows

    return plant


def twice(table):
    rows = table.to_pylist()
    return [*rows, rows[0]]


def old(table):
    return [row for row in table.to_pylist() if row["observed_at"].day < 25 or row["observed_at"].month < 12]


# What is planted in Iceberg: the table, and its rows.
COLD = {
    "cold_key": ("base_repos", twice),
    "cold_stars_known": ("base_repos", cell("stars", None)),
    "cold_stars_range": ("base_repos", cell("stars", -1)),
    "cold_forks_range": ("base_repos", cell("forks", -1)),
    "cold_owner_types": ("base_repos", cell("owner_type", "Robot")),
    "cold_names": ("base_repos", cell("name_with_owner", "react")),
    "cold_fresh": ("base_repos", old),
    "cold_processed_key": ("processed_repos", twice),
    "cold_bases": ("processed_repos", cell("base_at_7d", lambda row: row["observed_at"])),
    "cold_revisions": ("processed_repos", cell("revision", 0)),
    "raw_is_processed": ("base_repos", twice),
}


class Hot:
    """The copy in ClickHouse."""

    def __init__(self):
        import clickhouse_connect

        self.client = clickhouse_connect.get_client(dsn=os.environ["CLICKHOUSE_URL"], autogenerate_session_id=False)
        self.client.command(f"DROP DATABASE IF EXISTS {COPY}")
        self.client.command(f"CREATE DATABASE {COPY}")
        for table in COPIED:
            self.client.command(f"CREATE TABLE {table} AS {table.replace(COPY, 'pulse')}")
            self.fill(table)
        for table in ("github_feed_reads",):
            self.client.command(f"CREATE TABLE {COPY}.{table} AS pulse.{table}")
        view = self.client.command("SELECT create_table_query FROM system.tables WHERE database = 'pulse' AND name = 'event_coverage'")
        self.client.command(view.replace("\\n", "\n").replace("\\'", "'").replace("pulse.", COPY + "."))

    def fill(self, table):
        self.client.command(f"INSERT INTO {table} SELECT * FROM {table.replace(COPY, 'pulse')} WHERE {COPIED[table]}")

    def plant(self, statements):
        for statement in statements:
            self.client.command(statement)

    def mend(self, statements):
        for table in COPIED:
            if any(table in statement for statement in statements):
                self.client.command(f"TRUNCATE TABLE {table}")
                self.fill(table)


class Cold:
    """The copy in Iceberg: the columns that the suites read, of the days that they look at."""

    def __init__(self, folder):
        from pyiceberg.expressions import GreaterThanOrEqual

        source = check.catalog()
        columns = {"base_repos": ["repo_id", "name_with_owner", "owner_type", "stars", "forks", "observed_at"],
                   "processed_repos": ["repo_id", "stars", "observed_at", "processed_at", "base_at_7d", "stars_delta_7d", "revision"]}
        self.rows = {}
        for table, names in columns.items():
            self.rows[table] = source.load_table("github." + table).scan(row_filter=GreaterThanOrEqual("observed_at", SINCE + "+00:00"), selected_fields=tuple(names)).to_arrow()
        os.environ["ICEBERG_CATALOG_URI"], os.environ["ICEBERG_WAREHOUSE"] = f"sqlite://{folder}/catalog.db", f"file://{folder}/warehouse"
        self.catalog = check.catalog()
        self.catalog.create_namespace("github")
        for table in columns:
            self.write(table, self.rows[table])

    def write(self, table, rows):
        import pyarrow

        # Nothing is required of the copy: a fault may be a null.
        schema = pyarrow.schema([field.with_nullable(True) for field in self.rows[table].schema])
        rows = pyarrow.Table.from_pylist(rows, schema) if isinstance(rows, list) else rows.cast(schema)
        if self.catalog.table_exists("github." + table):
            self.catalog.drop_table("github." + table)
        self.catalog.create_table("github." + table, schema=schema).append(rows)


def outcome(suite, expectation):
    """What an expectation says by itself."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    alone = suite | {"expectations": [e for e in suite["expectations"] if e["id"] == expectation]}
    with contextlib.redirect_stdout(None):  # Great Expectations prints
        return next(iter(check.evaluate(context, ORDER, alone, check.Stores(context, ORDER, check.Read()))))


def main(chosen):
    import logging
    import warnings

    logging.disable(logging.WARNING)
    import great_expectations  # noqa: F401

    warnings.simplefilter("ignore")
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        hot, cold = Hot(), Cold(folder)
        for suite in check.suites(ORDER):
            for expectation in [e["id"] for e in suite["expectations"]]:
                if chosen and expectation not in chosen:
                    continue
                well = outcome(suite, expectation)
                if expectation in HOT:
                    hot.plant(HOT[expectation])
                elif expectation in COLD:
                    table, change = COLD[expectation]
                    cold.write(table, change(cold.rows[table]))
                else:
                    wrong.append(f"{expectation}: no fault is planted for it")
                    continue
                ill = outcome(suite, expectation)
                if expectation in HOT:
                    hot.mend(HOT[expectation])
                else:
                    cold.write(table, cold.rows[table])
                if not well["passed"]:
                    wrong.append(f"{expectation}: fails without a fault: {json.dumps(well)}")
                if ill["passed"] or ill["error"]:
                    wrong.append(f"{expectation}: does not fail on its fault: {json.dumps(ill)}")
                print(f"{'ok' if well['passed'] and not ill['passed'] and not ill['error'] else 'WRONG':5} {expectation}: {ill['unexpected'] if ill['unexpected'] is not None else ill['observed']}", flush=True)
        hot.client.command(f"DROP DATABASE {COPY}")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
