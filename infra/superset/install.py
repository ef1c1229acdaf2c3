"""Brings Superset's own database to what this folder says, and is safe to repeat.

    install.py BUNDLE ADMIN

BUNDLE is the folder with metadata.yaml. The admin's password is read from the
first line of standard input. CLICKHOUSE_URI in the environment is where the
dashboards read: clickhousedb://user:password@host:port/pulse. Each step is
announced on standard output; the first that fails ends the program with its
error.

What the bundle holds replaces what Superset has of it, and what an earlier
bundle had and this one has not is deleted. Charts and dashboards that people
made themselves stay: ours are marked as certified by M7 Pulse.
"""

import os
import pathlib
import sys

import yaml

OWNER = "M7 Pulse"


def step(text):
    print("step:", text, flush=True)


def contents(bundle, uri):
    """The bundle's files by name, with the address of ClickHouse put in."""
    files = {}
    for path in sorted(bundle.rglob("*.yaml")):
        name = str(path.relative_to(bundle))
        text = path.read_text()
        if name.startswith("databases/"):
            database = yaml.safe_load(text)
            database["sqlalchemy_uri"] = uri
            text = yaml.safe_dump(database)
        files[name] = text
    return files


def admin(app, name, password):
    manager = app.appbuilder.sm
    user = manager.find_user(name)
    if user is None:
        if not manager.add_user(name, "M7", "Pulse", f"{name}@localhost", manager.find_role("Admin"), password):
            raise SystemExit("the admin could not be made")
    else:
        manager.reset_password(user.id, password)


def replace(files, user):
    from flask import g
    from superset import db
    from superset.commands.importers.v1.assets import ImportAssetsCommand
    from superset.connectors.sqla.models import SqlaTable
    from superset.models.dashboard import Dashboard
    from superset.models.slice import Slice

    g.user = user
    ImportAssetsCommand(files, sparse=False).run()
    kept = {yaml.safe_load(text).get("uuid") for text in files.values()}
    databases = {yaml.safe_load(text)["uuid"] for name, text in files.items() if name.startswith("databases/")}
    ours = db.session.query(Dashboard).filter_by(certified_by=OWNER).all()
    ours += db.session.query(Slice).filter_by(certified_by=OWNER).all()
    ours += [t for t in db.session.query(SqlaTable) if str(t.database.uuid) in databases and OWNER in (t.extra or "")]
    for item in ours:
        if str(item.uuid) not in kept:
            step(f"removed {item}")
            db.session.delete(item)
    db.session.commit()


def main(bundle, name):
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
        replace(contents(pathlib.Path(bundle), os.environ["CLICKHOUSE_URI"]), app.appbuilder.sm.find_user(name))


main(*sys.argv[1:])
