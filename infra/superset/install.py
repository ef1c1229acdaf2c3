"""Brings Superset's own database to what this folder says, and is safe to repeat.

    install.py ADMIN

The admin's password is read from the first line of standard input. In the
environment is where the dashboards read: CLICKHOUSE_URI for those in bundle/,
clickhousedb://user:password@host:port/pulse; TRINO_URI for those in trino/,
trino://user@host:port/iceberg/pulse, which are there only if it is set; FOLDERS,
those beside bundle/ that ClickHouse has data for too, separated by commas;
CHOICES, a JSON object of what filters choose at first, by column, where the data
lacks what the bundle chooses (a recorded repository, say); ABSENT, signals of the
dataset "flows" that the data lacks and nothing will bring, separated by commas.

Each step is announced on standard output; the first that fails ends the program with
its error. A line that begins with "later:" says what another run may still do.

What the bundles hold replaces what Superset has of it, and what earlier ones
had and these have not is deleted. Charts and dashboards that people made
themselves stay: ours are marked as certified by M7 Pulse.
"""

import json
import os
import pathlib
import sys
import traceback

import yaml

OWNER = "M7 Pulse"
HERE = pathlib.Path(__file__).parent


def step(text):
    print("step:", text, flush=True)


def contents(bundle, uri):
    """The bundle's files by name, with the address of its database put in."""
    from sqlalchemy.engine.url import make_url

    files = {}
    for path in sorted(bundle.rglob("*.yaml")):
        name = str(path.relative_to(bundle))
        text = path.read_text()
        if name.startswith("databases/"):
            database = yaml.safe_load(text)
            database["sqlalchemy_uri"] = uri
            if bundle.name == "trino" and make_url(uri).password:
                # Trino's client takes every port but 443 for plain HTTP, where it refuses to send a password.
                database["extra"]["engine_params"]["connect_args"]["http_scheme"] = "https"
            text = yaml.safe_dump(database)
        files[name] = text
    return files


def people_and_flow(files):
    """Gives the dashboard of one repository a tab of what Contributors and Flow shows, but for what stands side by side there."""
    name = "dashboards/repository.yaml"
    repository = yaml.safe_load(files[name])
    position, flow = repository["position"], yaml.safe_load(files["dashboards/flow.yaml"])["position"]
    tabs = position["TABS-main"]
    tab = {"id": "TAB-events", "type": "TAB", "children": [], "parents": tabs["parents"] + ["TABS-main"],
           "meta": {**position[tabs["children"][0]]["meta"], "text": "People and flow"}}

    def charts(part):
        return {part["id"]}.union(*(charts(flow[child]) for child in part.get("children", [])))

    def copy(part, parent):
        own = {**part, "id": part["id"] + "-events", "parents": parent["parents"] + [parent["id"]], "children": []}
        if own["type"] == "CHART":
            own["meta"] = {**own["meta"], "chartId": 1000 + own["meta"]["chartId"]}  # a number of its own until it is imported
        for child in part.get("children", []):
            copy(flow[child], own)
        position[own["id"]] = own
        parent["children"].append(own["id"])

    rows = [row for row in flow["GRID_ID"]["children"] if row != "TABS-main"]
    rows += [row for part in flow["TABS-main"]["children"] for row in flow[part]["children"]]
    for row in rows:
        if not charts(flow[row]) & {"CHART-companies", "CHART-repositories"}:
            copy(flow[row], tab)
    position[tab["id"]] = tab
    tabs["children"].append(tab["id"])
    files[name] = yaml.safe_dump(repository)


# What filters choose from, by the column that they are of.
NAMES = {"repository": "label", "company": "company_name"}


def choose(files, uri, choices):
    """Has filters choose what the data has: nobody should meet empty charts at first."""
    from sqlalchemy import create_engine

    if not choices:  # no data yet
        return
    with create_engine(uri).connect() as connection:
        known = {
            column: {row[0] for row in connection.exec_driver_sql(f"SELECT DISTINCT {name} FROM pulse.repositories")}
            for column, name in NAMES.items()
        }
    for path in [path for path in files if path.startswith("dashboards/")]:
        dashboard = yaml.safe_load(files[path])
        for item in dashboard["metadata"].get("native_filter_configuration", []):
            column = item["targets"][0].get("column", {}).get("name")
            mask = item["defaultDataMask"]
            chosen = mask["filterState"].get("value")
            if column not in known or not chosen or known[column] >= set(chosen):
                continue
            values = choices[column][: len(chosen)]
            mask["extraFormData"]["filters"][0]["val"] = values
            mask["filterState"].update(value=values, label=", ".join(values))
        files[path] = yaml.safe_dump(dashboard, sort_keys=False, allow_unicode=True)


WIDTH = 12  # of a dashboard, in its columns


def leave_out(files, absent):
    """Takes from the dashboards the charts that show nothing but absent signals, and gives their room to those beside them."""
    charts = {}
    for text in files.values():
        chart = yaml.safe_load(text)
        chosen = [f["comparator"] for f in chart.get("params", {}).get("adhoc_filters", []) if f.get("subject") == "signal"] if "viz_type" in chart else []
        if chosen and absent.issuperset(chosen[0]):
            charts[chart["uuid"]] = chart["slice_name"]
    for path in [path for path in files if path.startswith("dashboards/")]:
        dashboard = yaml.safe_load(files[path])
        position = dashboard["position"]

        def is_left(name):
            """Whether a part still shows something, without what it holds that does not. A text beside a chart goes with it."""
            part = position[name]
            if part["type"] == "CHART":
                return part["meta"]["uuid"] not in charts
            if part["type"] == "MARKDOWN" or not part["children"]:
                return True
            kept = [child for child in part["children"] if is_left(child)]
            if part["type"] == "COLUMN" and len(kept) < len(part["children"]):
                return False
            gone = [child for child in part["children"] if child not in kept]
            for child in gone:
                remove(child)
            part["children"] = kept
            if part["type"] == "ROW" and gone and kept:
                for child in kept:
                    widen(child, WIDTH // len(kept))
            return bool(kept)

        def remove(name):
            for child in position.pop(name)["children"]:
                remove(child)

        def widen(name, width):
            position[name]["meta"]["width"] = width
            for child in position[name]["children"]:
                widen(child, width)

        is_left("GRID_ID")
        files[path] = yaml.safe_dump(dashboard, sort_keys=False, allow_unicode=True)


def admin(app, name, password):
    manager = app.appbuilder.sm
    user = manager.find_user(name)
    if user is None:
        if not manager.add_user(name, "M7", "Pulse", f"{name}@localhost", manager.find_role("Admin"), password):
            raise SystemExit("the admin could not be made")
    else:
        manager.reset_password(user.id, password)


def replace(bundles, user):
    from flask import g
    from superset import db
    from superset.commands.exceptions import ImportFailedError
    from superset.commands.importers.v1.assets import ImportAssetsCommand
    from superset.connectors.sqla.models import SqlaTable
    from superset.models.core import Database
    from superset.models.dashboard import Dashboard
    from superset.models.slice import Slice

    g.user = user
    for files in bundles:
        try:
            ImportAssetsCommand(files, sparse=False).run()
        except ImportFailedError as failure:
            # An import asks Trino for its catalogs. That it is away, or refuses us, is no reason to be without the other dashboards.
            if files is bundles[0]:
                raise
            traceback.print_exception(failure)
            print("later: Trino's dashboard could not be imported and is left as it was until the next start; superset.log says why, most often that Trino does not answer or refuses us", flush=True)
    kept = {yaml.safe_load(text).get("uuid") for files in bundles for text in files.values()}
    databases = {yaml.safe_load(path.read_text())["uuid"] for path in HERE.glob("*/databases/*.yaml")}
    ours = db.session.query(Dashboard).filter_by(certified_by=OWNER).all()
    ours += db.session.query(Slice).filter_by(certified_by=OWNER).all()
    ours += [t for t in db.session.query(SqlaTable) if str(t.database.uuid) in databases and OWNER in (t.extra or "")]
    for item in ours:
        if str(item.uuid) not in kept:
            step(f"removed {item}")
            db.session.delete(item)
    db.session.commit()
    for item in db.session.query(Database).all():
        # With a database goes what people made on it, so then it stays.
        if str(item.uuid) in databases - kept and not item.tables and not item.saved_queries:
            step(f"removed {item}")
            db.session.delete(item)
    db.session.commit()


def main(name):
    password = sys.stdin.readline().strip()
    from flask_migrate import upgrade
    from superset.app import create_app

    app = create_app()
    with app.app_context():
        step("tables of its own database")
        upgrade(directory=str(pathlib.Path(sys.modules["superset"].__file__).parent / "migrations"))
        step("roles and permissions")
        app.appbuilder.add_permissions(update_perms=True)
        app.appbuilder.sm.sync_role_definitions()
        step("the admin")
        admin(app, name, password)
    with app.test_request_context():
        step("dashboards")
        bundles = [contents(HERE / "bundle", os.environ["CLICKHOUSE_URI"])]
        for folder in filter(None, os.environ.get("FOLDERS", "").split(",")):  # over the same database, so in one import
            bundles[0] |= contents(HERE / folder, "")
        if "dashboards/flow.yaml" in bundles[0]:
            people_and_flow(bundles[0])
        choose(bundles[0], os.environ["CLICKHOUSE_URI"], json.loads(os.environ.get("CHOICES") or "{}"))
        leave_out(bundles[0], set(filter(None, os.environ.get("ABSENT", "").split(","))))
        if uri := os.environ.get("TRINO_URI"):
            bundles.append(contents(HERE / "trino", uri))
        replace(bundles, app.appbuilder.sm.find_user(name))


main(*sys.argv[1:])
