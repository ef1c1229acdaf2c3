-- Hot and cold as one, in the schema iceberg.pulse; safe to repeat. Run it when
-- the functions have made their tables.

CREATE SCHEMA IF NOT EXISTS iceberg.pulse;

-- Observations from this moment on come from ClickHouse, all before from Iceberg.
-- It must lie further back than sink-iceberg can lag. It is the same throughout
-- one query, so nothing is counted twice and nothing is missed.
CREATE OR REPLACE VIEW iceberg.pulse.boundary AS
SELECT CAST(date_trunc('day', current_timestamp AT TIME ZONE 'UTC') - INTERVAL '7' DAY AS timestamp(6)) AS at;

-- Every observation of a repository, once, in UTC.
CREATE OR REPLACE VIEW iceberg.pulse.observations AS
SELECT 'hot' AS store,
  CAST(created_at AS timestamp(6)) AS created_at, CAST(pushed_at AS timestamp(6)) AS pushed_at, CAST(observed_at AS timestamp(6)) AS observed_at,
  CAST(processed_at AS timestamp(6)) AS processed_at, repo_id, name_with_owner, owner, owner_type, company, primary_language, is_fork,
  is_archived, stars, forks, watchers, open_issues, closed_issues, open_prs, merged_prs, closed_prs, discussions, releases, commits_total,
  disk_kb, sweep_id, source, stars_delta_1h, stars_delta_24h, stars_delta_7d, stars_delta_30d, forks_delta_1h, forks_delta_24h,
  forks_delta_7d, forks_delta_30d, stars_per_day_1h, stars_per_day_24h, stars_per_day_7d, stars_per_day_30d, health_score
FROM clickhouse.pulse.github_metrics_timeseries
WHERE observed_at >= (SELECT CAST(at AS timestamp(3)) FROM iceberg.pulse.boundary)
UNION ALL
SELECT 'cold',
  CAST(created_at AS timestamp(6)), CAST(pushed_at AS timestamp(6)), CAST(observed_at AS timestamp(6)), CAST(processed_at AS timestamp(6)),
  repo_id, name_with_owner, owner, owner_type, company, primary_language, is_fork, is_archived, stars, forks, watchers, open_issues,
  closed_issues, open_prs, merged_prs, closed_prs, discussions, releases, commits_total, disk_kb, sweep_id, source, stars_delta_1h,
  stars_delta_24h, stars_delta_7d, stars_delta_30d, forks_delta_1h, forks_delta_24h, forks_delta_7d, forks_delta_30d, stars_per_day_1h,
  stars_per_day_24h, stars_per_day_7d, stars_per_day_30d, health_score
FROM iceberg.github.processed_repos
WHERE observed_at < (SELECT with_timezone(at, 'UTC') FROM iceberg.pulse.boundary);

-- Where the stores differ, by day and topic; empty when they hold the same. The
-- checksums do not depend on order. Both sinks must have come to rest.
CREATE OR REPLACE VIEW iceberg.pulse.differences AS
WITH hot AS (
  SELECT date(observed_at) AS day, count(*) AS stored, count(DISTINCT ROW(repo_id, observed_at)) AS keys,
    checksum(ROW(
      repo_id, observed_at, name_with_owner, company, primary_language, created_at, pushed_at, source, stars, forks, watchers, open_issues,
      closed_issues, open_prs, merged_prs, closed_prs, discussions, releases, commits_total, disk_kb)) AS observed,
    checksum(ROW(repo_id, observed_at,
      base_at_1h, base_at_24h, base_at_7d, base_at_30d, stars_delta_1h, stars_delta_24h, stars_delta_7d, stars_delta_30d, forks_delta_1h,
      forks_delta_24h, forks_delta_7d, forks_delta_30d, open_issues_delta_1h, open_issues_delta_24h, open_issues_delta_7d,
      open_issues_delta_30d, merged_prs_delta_1h, merged_prs_delta_24h, merged_prs_delta_7d, merged_prs_delta_30d, closed_issues_delta_1h,
      closed_issues_delta_24h, closed_issues_delta_7d, closed_issues_delta_30d, commits_total_delta_1h, commits_total_delta_24h,
      commits_total_delta_7d, commits_total_delta_30d)) AS velocity
  FROM clickhouse.pulse.github_metrics_timeseries GROUP BY 1
),
processed AS (
  SELECT date(CAST(observed_at AS timestamp(3))) AS day, count(*) AS stored, count(DISTINCT ROW(repo_id, observed_at)) AS keys,
    checksum(ROW(
      repo_id, CAST(observed_at AS timestamp(3)), name_with_owner, company, primary_language, CAST(created_at AS timestamp(3)),
      CAST(pushed_at AS timestamp(3)), source, stars, forks, watchers, open_issues, closed_issues, open_prs, merged_prs, closed_prs,
      discussions, releases, commits_total, disk_kb)) AS observed,
    checksum(ROW(repo_id, CAST(observed_at AS timestamp(3)),
      CAST(base_at_1h AS timestamp(3)), CAST(base_at_24h AS timestamp(3)), CAST(base_at_7d AS timestamp(3)),
      CAST(base_at_30d AS timestamp(3)), stars_delta_1h, stars_delta_24h, stars_delta_7d, stars_delta_30d, forks_delta_1h, forks_delta_24h,
      forks_delta_7d, forks_delta_30d, open_issues_delta_1h, open_issues_delta_24h, open_issues_delta_7d, open_issues_delta_30d,
      merged_prs_delta_1h, merged_prs_delta_24h, merged_prs_delta_7d, merged_prs_delta_30d, closed_issues_delta_1h, closed_issues_delta_24h,
      closed_issues_delta_7d, closed_issues_delta_30d, commits_total_delta_1h, commits_total_delta_24h, commits_total_delta_7d,
      commits_total_delta_30d)) AS velocity
  FROM iceberg.github.processed_repos GROUP BY 1
),
raw AS (
  SELECT date(CAST(observed_at AS timestamp(3))) AS day, count(*) AS stored, count(DISTINCT ROW(repo_id, observed_at)) AS keys,
    checksum(ROW(
      repo_id, CAST(observed_at AS timestamp(3)), name_with_owner, company, primary_language, CAST(created_at AS timestamp(3)),
      CAST(pushed_at AS timestamp(3)), source, stars, forks, watchers, open_issues, closed_issues, open_prs, merged_prs, closed_prs,
      discussions, releases, commits_total, disk_kb)) AS observed,
    CAST(NULL AS varbinary) AS velocity
  FROM iceberg.github.base_repos GROUP BY 1
),
sides AS (
  SELECT 'github.processed_repos' AS topic, 'hot' AS store, * FROM hot
  UNION ALL SELECT 'github.processed_repos', 'cold', * FROM processed
  UNION ALL SELECT 'github.base_repos', 'hot', day, stored, keys, observed, NULL FROM hot
  UNION ALL SELECT 'github.base_repos', 'cold', * FROM raw
)
SELECT topic, day, h.stored AS hot_rows, c.stored AS cold_rows, h.keys AS hot_keys, c.keys AS cold_keys,
  h.observed IS DISTINCT FROM c.observed AS counters_differ,
  h.velocity IS DISTINCT FROM c.velocity AS velocities_differ
FROM (SELECT * FROM sides WHERE store = 'hot') AS h
FULL JOIN (SELECT * FROM sides WHERE store = 'cold') AS c USING (topic, day)
WHERE h.stored IS DISTINCT FROM c.stored OR h.keys IS DISTINCT FROM c.keys
  OR h.observed IS DISTINCT FROM c.observed OR h.velocity IS DISTINCT FROM c.velocity;
