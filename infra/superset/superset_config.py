"""Superset for M7 Pulse: one machine, SQLite for what it keeps, no call to the outside.

Read from the environment: SUPERSET_SECRET_KEY signs sessions and encrypts the
database's password; SUPERSET_DB is the path of the metadata database and
SUPERSET_CACHE the folder of what is cached.
"""

import os

from superset.utils.log import AbstractEventLogger

SECRET_KEY = os.environ["SUPERSET_SECRET_KEY"]
SQLALCHEMY_DATABASE_URI = f"sqlite:///{os.environ['SUPERSET_DB']}?check_same_thread=false"

APP_NAME = "M7 Pulse"
WTF_CSRF_ENABLED = True
RATELIMIT_ENABLED = False
CELERY_CONFIG = None  # no queries in the background, so no broker
SQLLAB_CTAS_NO_LIMIT = False

# Answers are kept in files, which the worker processes share. A minute: sweeps
# are hourly, and a filter that is turned back costs nothing.
_CACHE = {
    "CACHE_TYPE": "FileSystemCache",
    "CACHE_DIR": os.environ["SUPERSET_CACHE"],
    "CACHE_THRESHOLD": 5000,
    "CACHE_DEFAULT_TIMEOUT": 60,
}
CACHE_CONFIG = DATA_CACHE_CONFIG = _CACHE
FILTER_STATE_CACHE_CONFIG = EXPLORE_FORM_DATA_CACHE_CONFIG = {**_CACHE, "CACHE_DEFAULT_TIMEOUT": 86_400}


class _NoEvents(AbstractEventLogger):
    """Who opened what is not written down. Each line is a transaction of SQLite, and
    was a sixth of the time in which a dashboard's charts are answered."""

    def log(self, *args, **kwargs):
        pass


EVENT_LOGGER = _NoEvents()


def FLASK_APP_MUTATOR(app):
    """Takes ClickHouse's default schema from its address. Superset asks ClickHouse for
    it twice for each chart, over a new connection that first reads a thousand settings,
    though the datasets name their schema: a fifth of the same time."""
    from superset.db_engine_specs.clickhouse import ClickHouseConnectEngineSpec

    ClickHouseConnectEngineSpec.get_default_schema = classmethod(lambda cls, database, catalog: database.url_object.database)


FEATURE_FLAGS = {
    "ENABLE_TEMPLATE_PROCESSING": True,  # the datasets read the period and the base day from the filters
    "DASHBOARD_VIRTUALIZATION": False,  # draw all charts at once, not on scrolling
    "ALERT_REPORTS": False,
    "THUMBNAILS": False,
    "EMBEDDED_SUPERSET": False,
}

# All scripts, fonts and pictures come from this server, and no browser of a
# user asks anybody else: without this policy Superset loads a telemetry pixel.
TALISMAN_ENABLED = True
TALISMAN_CONFIG = {
    "force_https": False,
    "session_cookie_secure": False,  # plain HTTP on the loopback
    "content_security_policy_nonce_in": ["script-src"],
    "content_security_policy": {
        "base-uri": ["'self'"],
        "default-src": ["'self'"],
        "connect-src": ["'self'"],
        "img-src": ["'self'", "blob:", "data:"],
        "worker-src": ["'self'", "blob:"],
        "object-src": "'none'",
        "style-src": ["'self'", "'unsafe-inline'"],
        "script-src": ["'self'", "'strict-dynamic'"],
    },
}
