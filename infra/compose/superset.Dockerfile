# Superset with the pinned requirements and the dashboards. Built from
# infra/superset. Each start imports what has changed.
FROM python:3.11.13-slim-bookworm
RUN useradd --create-home superset
COPY requirements.txt /superset/
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.9 \
 && uv pip install --system --no-cache --compile-bytecode -r /superset/requirements.txt
COPY . /superset/
USER superset
WORKDIR /home/superset
ENV SUPERSET_CONFIG_PATH=/superset/superset_config.py \
    SUPERSET_DB=/home/superset/superset.db \
    SUPERSET_CACHE=/home/superset/cache
CMD ["sh", "-ec", "printf '%s\\n' \"$SUPERSET_ADMIN_PASSWORD\" | python /superset/install.py admin && exec gunicorn --bind 0.0.0.0:8088 --workers 2 --preload --worker-class gthread --threads 8 --timeout 120 --no-control-socket 'superset.app:create_app()'"]
