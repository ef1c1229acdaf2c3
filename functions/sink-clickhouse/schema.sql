-- The hot store, version by version. A version that has been released is never
-- changed: what comes later is a version of its own at the end. Statements are
-- separated by a line with a semicolon alone and are safe to repeat.
--
-- Times are DateTime64(3) without a zone, on a server whose zone is UTC: Trino
-- hides columns with a zone.

-- version 1

-- The current state of each repository. Read it with FINAL. version =
-- observed_at in ms · 2^16 + revision, so the newest observation wins, and of
-- it the newest re-statement.
CREATE TABLE IF NOT EXISTS pulse.github_processed_repos (
  repo_id Int64,
  node_id String,
  name_with_owner String,
  owner LowCardinality(String),
  owner_type LowCardinality(String),
  company LowCardinality(Nullable(String)),
  name String,
  description Nullable(String),
  primary_language LowCardinality(Nullable(String)),
  languages Array(Tuple(name String, bytes Int64)),
  topics Array(LowCardinality(String)),
  license LowCardinality(Nullable(String)),
  default_branch Nullable(String),
  is_fork Bool,
  is_archived Bool,
  created_at Nullable(DateTime64(3)),
  pushed_at Nullable(DateTime64(3)),
  updated_at Nullable(DateTime64(3)),
  stars Int64,
  forks Nullable(Int64),
  watchers Nullable(Int64),
  open_issues Nullable(Int64),
  closed_issues Nullable(Int64),
  open_prs Nullable(Int64),
  merged_prs Nullable(Int64),
  closed_prs Nullable(Int64),
  discussions Nullable(Int64),
  releases Nullable(Int64),
  latest_release Nullable(String),
  latest_release_at Nullable(DateTime64(3)),
  commits_total Nullable(Int64),
  disk_kb Nullable(Int64),
  observed_at DateTime64(3),
  sweep_id String,
  source LowCardinality(String),
  processed_at DateTime64(3),
  revision Int64,
  late Bool,
  base_at_1h Nullable(DateTime64(3)),
  base_at_24h Nullable(DateTime64(3)),
  base_at_7d Nullable(DateTime64(3)),
  base_at_30d Nullable(DateTime64(3)),
  stars_delta_1h Nullable(Int64),
  stars_delta_24h Nullable(Int64),
  stars_delta_7d Nullable(Int64),
  stars_delta_30d Nullable(Int64),
  stars_per_day_1h Nullable(Float64),
  stars_per_day_24h Nullable(Float64),
  stars_per_day_7d Nullable(Float64),
  stars_per_day_30d Nullable(Float64),
  forks_delta_1h Nullable(Int64),
  forks_delta_24h Nullable(Int64),
  forks_delta_7d Nullable(Int64),
  forks_delta_30d Nullable(Int64),
  forks_per_day_1h Nullable(Float64),
  forks_per_day_24h Nullable(Float64),
  forks_per_day_7d Nullable(Float64),
  forks_per_day_30d Nullable(Float64),
  open_issues_delta_1h Nullable(Int64),
  open_issues_delta_24h Nullable(Int64),
  open_issues_delta_7d Nullable(Int64),
  open_issues_delta_30d Nullable(Int64),
  open_issues_per_day_1h Nullable(Float64),
  open_issues_per_day_24h Nullable(Float64),
  open_issues_per_day_7d Nullable(Float64),
  open_issues_per_day_30d Nullable(Float64),
  merged_prs_delta_1h Nullable(Int64),
  merged_prs_delta_24h Nullable(Int64),
  merged_prs_delta_7d Nullable(Int64),
  merged_prs_delta_30d Nullable(Int64),
  merged_prs_per_day_1h Nullable(Float64),
  merged_prs_per_day_24h Nullable(Float64),
  merged_prs_per_day_7d Nullable(Float64),
  merged_prs_per_day_30d Nullable(Float64),
  closed_issues_delta_1h Nullable(Int64),
  closed_issues_delta_24h Nullable(Int64),
  closed_issues_delta_7d Nullable(Int64),
  closed_issues_delta_30d Nullable(Int64),
  closed_issues_per_day_1h Nullable(Float64),
  closed_issues_per_day_24h Nullable(Float64),
  closed_issues_per_day_7d Nullable(Float64),
  closed_issues_per_day_30d Nullable(Float64),
  commits_total_delta_1h Nullable(Int64),
  commits_total_delta_24h Nullable(Int64),
  commits_total_delta_7d Nullable(Int64),
  commits_total_delta_30d Nullable(Int64),
  commits_total_per_day_1h Nullable(Float64),
  commits_total_per_day_24h Nullable(Float64),
  commits_total_per_day_7d Nullable(Float64),
  commits_total_per_day_30d Nullable(Float64),
  version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY repo_id
;

-- Every observation, once, with the velocities known when it was processed.
-- origin_* is the record it came from: by it a crash between this insert and
-- its marker is found out.
CREATE TABLE IF NOT EXISTS pulse.github_metrics_timeseries (
  repo_id Int64,
  name_with_owner LowCardinality(String),
  owner LowCardinality(String),
  owner_type LowCardinality(String),
  company LowCardinality(Nullable(String)),
  primary_language LowCardinality(Nullable(String)),
  is_fork Bool,
  is_archived Bool,
  created_at Nullable(DateTime64(3)),
  pushed_at Nullable(DateTime64(3)),
  stars Int64,
  forks Nullable(Int64),
  watchers Nullable(Int64),
  open_issues Nullable(Int64),
  closed_issues Nullable(Int64),
  open_prs Nullable(Int64),
  merged_prs Nullable(Int64),
  closed_prs Nullable(Int64),
  discussions Nullable(Int64),
  releases Nullable(Int64),
  latest_release Nullable(String),
  latest_release_at Nullable(DateTime64(3)),
  commits_total Nullable(Int64),
  disk_kb Nullable(Int64),
  observed_at DateTime64(3),
  sweep_id LowCardinality(String),
  source LowCardinality(String),
  processed_at DateTime64(3),
  revision Int64,
  late Bool,
  base_at_1h Nullable(DateTime64(3)),
  base_at_24h Nullable(DateTime64(3)),
  base_at_7d Nullable(DateTime64(3)),
  base_at_30d Nullable(DateTime64(3)),
  stars_delta_1h Nullable(Int64),
  stars_delta_24h Nullable(Int64),
  stars_delta_7d Nullable(Int64),
  stars_delta_30d Nullable(Int64),
  stars_per_day_1h Nullable(Float64),
  stars_per_day_24h Nullable(Float64),
  stars_per_day_7d Nullable(Float64),
  stars_per_day_30d Nullable(Float64),
  forks_delta_1h Nullable(Int64),
  forks_delta_24h Nullable(Int64),
  forks_delta_7d Nullable(Int64),
  forks_delta_30d Nullable(Int64),
  forks_per_day_1h Nullable(Float64),
  forks_per_day_24h Nullable(Float64),
  forks_per_day_7d Nullable(Float64),
  forks_per_day_30d Nullable(Float64),
  open_issues_delta_1h Nullable(Int64),
  open_issues_delta_24h Nullable(Int64),
  open_issues_delta_7d Nullable(Int64),
  open_issues_delta_30d Nullable(Int64),
  open_issues_per_day_1h Nullable(Float64),
  open_issues_per_day_24h Nullable(Float64),
  open_issues_per_day_7d Nullable(Float64),
  open_issues_per_day_30d Nullable(Float64),
  merged_prs_delta_1h Nullable(Int64),
  merged_prs_delta_24h Nullable(Int64),
  merged_prs_delta_7d Nullable(Int64),
  merged_prs_delta_30d Nullable(Int64),
  merged_prs_per_day_1h Nullable(Float64),
  merged_prs_per_day_24h Nullable(Float64),
  merged_prs_per_day_7d Nullable(Float64),
  merged_prs_per_day_30d Nullable(Float64),
  closed_issues_delta_1h Nullable(Int64),
  closed_issues_delta_24h Nullable(Int64),
  closed_issues_delta_7d Nullable(Int64),
  closed_issues_delta_30d Nullable(Int64),
  closed_issues_per_day_1h Nullable(Float64),
  closed_issues_per_day_24h Nullable(Float64),
  closed_issues_per_day_7d Nullable(Float64),
  closed_issues_per_day_30d Nullable(Float64),
  commits_total_delta_1h Nullable(Int64),
  commits_total_delta_24h Nullable(Int64),
  commits_total_delta_7d Nullable(Int64),
  commits_total_delta_30d Nullable(Int64),
  commits_total_per_day_1h Nullable(Float64),
  commits_total_per_day_24h Nullable(Float64),
  commits_total_per_day_7d Nullable(Float64),
  commits_total_per_day_30d Nullable(Float64),
  origin_topic_id LowCardinality(String),
  origin_partition Int32,
  origin_offset Int64,
  INDEX by_origin origin_offset TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(observed_at)
ORDER BY (repo_id, observed_at)
;

-- The ledger: how complete each owner's sweep was.
CREATE TABLE IF NOT EXISTS pulse.sweeps (
  sweep_id String,
  owner LowCardinality(String),
  status LowCardinality(String),
  started_at DateTime64(3),
  finished_at DateTime64(3),
  expected Nullable(Int64),
  seen Int64,
  new Nullable(Int64),
  renamed Nullable(Int64),
  gone Nullable(Int64),
  unanswered Int64,
  pages Int64,
  killed_pages Int64,
  points Int64,
  seconds Float64,
  reason Nullable(String)
)
ENGINE = ReplacingMergeTree(finished_at)
ORDER BY (sweep_id, owner)
;

-- The markers: up to which offset each partition is stored, written after the
-- rows. max(to_offset) is the truth; older markers may be merged away.
CREATE TABLE IF NOT EXISTS pulse.sink_commits (
  topic LowCardinality(String),
  topic_id String,
  partition Int32,
  from_offset UInt64,
  to_offset UInt64,
  rows UInt64,
  committed_at DateTime64(3)
)
ENGINE = ReplacingMergeTree(to_offset)
ORDER BY (topic_id, partition)
;

-- version 2
-- What follows from a repository's past beyond six counters: docs/metrics.md.

ALTER TABLE pulse.github_processed_repos
  ADD COLUMN IF NOT EXISTS watchers_delta_1h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS watchers_per_day_1h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS watchers_delta_24h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS watchers_per_day_24h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS watchers_delta_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS watchers_per_day_7d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS watchers_delta_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS watchers_per_day_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS open_prs_delta_1h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS open_prs_per_day_1h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS open_prs_delta_24h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS open_prs_per_day_24h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS open_prs_delta_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS open_prs_per_day_7d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS open_prs_delta_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS open_prs_per_day_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS closed_prs_delta_1h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS closed_prs_per_day_1h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS closed_prs_delta_24h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS closed_prs_per_day_24h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS closed_prs_delta_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS closed_prs_per_day_7d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS closed_prs_delta_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS closed_prs_per_day_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS discussions_delta_1h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS discussions_per_day_1h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS discussions_delta_24h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS discussions_per_day_24h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS discussions_delta_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS discussions_per_day_7d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS discussions_delta_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS discussions_per_day_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS releases_delta_1h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS releases_per_day_1h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS releases_delta_24h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS releases_per_day_24h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS releases_delta_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS releases_per_day_7d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS releases_delta_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS releases_per_day_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS stars_acceleration_24h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS stars_acceleration_7d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS stars_acceleration_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS issues_opened_24h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS issues_opened_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS issues_opened_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS issue_closure_ratio_24h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS issue_closure_ratio_7d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS issue_closure_ratio_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS backlog_index_24h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS backlog_index_7d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS backlog_index_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS prs_opened_24h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS prs_opened_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS prs_opened_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS pr_acceptance_ratio_24h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS pr_acceptance_ratio_7d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS pr_acceptance_ratio_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS active_days_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS active_days_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS observed_days_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS observed_days_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS releases_per_week_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS days_since_release Nullable(Float64),
  ADD COLUMN IF NOT EXISTS days_since_push Nullable(Float64),
  ADD COLUMN IF NOT EXISTS burst_z Nullable(Float64),
  ADD COLUMN IF NOT EXISTS is_burst Nullable(Bool),
  ADD COLUMN IF NOT EXISTS breakout_z Nullable(Float64),
  ADD COLUMN IF NOT EXISTS is_breakout Nullable(Bool),
  ADD COLUMN IF NOT EXISTS is_suspicious Nullable(Bool),
  ADD COLUMN IF NOT EXISTS milestone Nullable(Int64),
  ADD COLUMN IF NOT EXISTS is_renamed Nullable(Bool),
  ADD COLUMN IF NOT EXISTS is_branch_changed Nullable(Bool),
  ADD COLUMN IF NOT EXISTS is_history_rewritten Nullable(Bool),
  ADD COLUMN IF NOT EXISTS health_activity Nullable(Float64),
  ADD COLUMN IF NOT EXISTS health_maintenance Nullable(Float64),
  ADD COLUMN IF NOT EXISTS health_closure Nullable(Float64),
  ADD COLUMN IF NOT EXISTS health_acceptance Nullable(Float64),
  ADD COLUMN IF NOT EXISTS health_release Nullable(Float64),
  ADD COLUMN IF NOT EXISTS health_score Nullable(Float64),
  ADD COLUMN IF NOT EXISTS health_parts Nullable(Int64)
;

ALTER TABLE pulse.github_metrics_timeseries
  ADD COLUMN IF NOT EXISTS watchers_delta_1h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS watchers_per_day_1h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS watchers_delta_24h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS watchers_per_day_24h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS watchers_delta_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS watchers_per_day_7d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS watchers_delta_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS watchers_per_day_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS open_prs_delta_1h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS open_prs_per_day_1h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS open_prs_delta_24h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS open_prs_per_day_24h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS open_prs_delta_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS open_prs_per_day_7d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS open_prs_delta_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS open_prs_per_day_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS closed_prs_delta_1h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS closed_prs_per_day_1h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS closed_prs_delta_24h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS closed_prs_per_day_24h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS closed_prs_delta_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS closed_prs_per_day_7d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS closed_prs_delta_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS closed_prs_per_day_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS discussions_delta_1h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS discussions_per_day_1h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS discussions_delta_24h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS discussions_per_day_24h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS discussions_delta_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS discussions_per_day_7d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS discussions_delta_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS discussions_per_day_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS releases_delta_1h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS releases_per_day_1h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS releases_delta_24h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS releases_per_day_24h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS releases_delta_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS releases_per_day_7d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS releases_delta_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS releases_per_day_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS stars_acceleration_24h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS stars_acceleration_7d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS stars_acceleration_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS issues_opened_24h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS issues_opened_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS issues_opened_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS issue_closure_ratio_24h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS issue_closure_ratio_7d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS issue_closure_ratio_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS backlog_index_24h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS backlog_index_7d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS backlog_index_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS prs_opened_24h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS prs_opened_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS prs_opened_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS pr_acceptance_ratio_24h Nullable(Float64),
  ADD COLUMN IF NOT EXISTS pr_acceptance_ratio_7d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS pr_acceptance_ratio_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS active_days_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS active_days_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS observed_days_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS observed_days_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS releases_per_week_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS days_since_release Nullable(Float64),
  ADD COLUMN IF NOT EXISTS days_since_push Nullable(Float64),
  ADD COLUMN IF NOT EXISTS burst_z Nullable(Float64),
  ADD COLUMN IF NOT EXISTS is_burst Nullable(Bool),
  ADD COLUMN IF NOT EXISTS breakout_z Nullable(Float64),
  ADD COLUMN IF NOT EXISTS is_breakout Nullable(Bool),
  ADD COLUMN IF NOT EXISTS is_suspicious Nullable(Bool),
  ADD COLUMN IF NOT EXISTS milestone Nullable(Int64),
  ADD COLUMN IF NOT EXISTS is_renamed Nullable(Bool),
  ADD COLUMN IF NOT EXISTS is_branch_changed Nullable(Bool),
  ADD COLUMN IF NOT EXISTS is_history_rewritten Nullable(Bool),
  ADD COLUMN IF NOT EXISTS health_activity Nullable(Float64),
  ADD COLUMN IF NOT EXISTS health_maintenance Nullable(Float64),
  ADD COLUMN IF NOT EXISTS health_closure Nullable(Float64),
  ADD COLUMN IF NOT EXISTS health_acceptance Nullable(Float64),
  ADD COLUMN IF NOT EXISTS health_release Nullable(Float64),
  ADD COLUMN IF NOT EXISTS health_score Nullable(Float64),
  ADD COLUMN IF NOT EXISTS health_parts Nullable(Int64)
;

-- version 3

-- What needs many repositories at once is a view: it cannot be skewed by a
-- retry, and a re-statement shows at once.

-- How the stars of each repository moved, a row for each period. Repositories
-- that were not read in the three days before the newest reading are left out:
-- an old rate is no news. per_day_before is the rate over the period before,
-- which follows from the acceleration: v0 = v1 - a * days(t - b1).
CREATE OR REPLACE VIEW pulse.movements AS
SELECT
  repo_id, name_with_owner, toString(owner) AS owner, CAST(company, 'Nullable(String)') AS company,
  CAST(primary_language, 'Nullable(String)') AS primary_language, topics, observed_at, stars, forks,
  move.1 AS period, move.2 AS stars_delta, move.3 AS stars_per_day,
  move.3 - move.4 * (dateDiff('millisecond', move.5, observed_at) / 86400000) AS stars_per_day_before
FROM pulse.github_processed_repos FINAL
ARRAY JOIN [
  ('1h', stars_delta_1h, stars_per_day_1h, CAST(NULL, 'Nullable(Float64)'), base_at_1h),
  ('24h', stars_delta_24h, stars_per_day_24h, stars_acceleration_24h, base_at_24h),
  ('7d', stars_delta_7d, stars_per_day_7d, stars_acceleration_7d, base_at_7d),
  ('30d', stars_delta_30d, stars_per_day_30d, stars_acceleration_30d, base_at_30d)
] AS move
WHERE observed_at > (SELECT max(observed_at) FROM pulse.github_processed_repos) - INTERVAL 3 DAY
;

-- The rank of each repository by the rate of its stars: among all, its owner's,
-- and those of its language; the rank in the period before; and its share of
-- the net growth of all. rank_change > 0 is a rise. Unknown without a rate.
CREATE OR REPLACE VIEW pulse.repository_ranks AS
SELECT
  repo_id, name_with_owner, owner, company, primary_language, observed_at, stars, forks, period,
  stars_delta, stars_per_day, stars_per_day_before,
  if(isNull(stars_per_day), NULL, rank() OVER (PARTITION BY period ORDER BY stars_per_day DESC NULLS LAST)) AS rank,
  if(isNull(stars_per_day_before), NULL, rank() OVER (PARTITION BY period ORDER BY stars_per_day_before DESC NULLS LAST)) AS rank_before,
  toInt64(rank_before) - toInt64(rank) AS rank_change,
  if(isNull(stars_per_day), NULL, rank() OVER (PARTITION BY period, owner ORDER BY stars_per_day DESC NULLS LAST)) AS rank_in_owner,
  if(isNull(stars_per_day) OR isNull(primary_language), NULL,
    rank() OVER (PARTITION BY period, primary_language ORDER BY stars_per_day DESC NULLS LAST)) AS rank_in_language,
  sum(stars_delta) OVER (PARTITION BY period) AS growth_of_all,
  if(growth_of_all > 0, stars_delta / growth_of_all, NULL) AS share_of_growth
FROM pulse.movements
;

-- The same for groups of repositories: kind is owner, company, language or
-- topic. A repository counts in each of its topics, so their shares add up to
-- more than one. Members are those of today, in the period before too: a rank
-- changes because repositories moved, not because they were labelled anew.
-- repositories counts all members, measured those with a known rate.
CREATE OR REPLACE VIEW pulse.group_ranks AS
SELECT
  kind, name, period, repositories, measured, stars, forks, stars_delta, stars_per_day, stars_per_day_before,
  if(isNull(stars_per_day), NULL, rank() OVER (PARTITION BY kind, period ORDER BY stars_per_day DESC NULLS LAST)) AS rank,
  if(isNull(stars_per_day_before), NULL, rank() OVER (PARTITION BY kind, period ORDER BY stars_per_day_before DESC NULLS LAST)) AS rank_before,
  toInt64(rank_before) - toInt64(rank) AS rank_change,
  if(growth_of_all > 0, stars_delta / growth_of_all, NULL) AS share_of_growth
FROM (
  SELECT
    label.1 AS kind, label.2 AS name, period, count() AS repositories, count(m.stars_per_day) AS measured,
    sum(m.stars) AS stars, sum(m.forks) AS forks, sum(m.stars_delta) AS stars_delta,
    sum(m.stars_per_day) AS stars_per_day, sum(m.stars_per_day_before) AS stars_per_day_before, any(m.growth_of_all) AS growth_of_all
  FROM (
    SELECT *, sum(stars_delta) OVER (PARTITION BY period) AS growth_of_all, arrayFilter(l -> l.2 != '', arrayConcat(
      [('owner', owner), ('company', ifNull(company, '')), ('language', ifNull(primary_language, ''))],
      arrayMap(t -> ('topic', toString(t)), arrayDistinct(topics)))) AS labels
    FROM pulse.movements
  ) AS m
  ARRAY JOIN labels AS label
  GROUP BY kind, name, period
)
;

-- group_ranks of owners.
CREATE OR REPLACE VIEW pulse.owners AS SELECT * EXCEPT (kind, name), name AS owner FROM pulse.group_ranks WHERE kind = 'owner'
;

-- group_ranks of companies.
CREATE OR REPLACE VIEW pulse.companies AS SELECT * EXCEPT (kind, name), name AS company FROM pulse.group_ranks WHERE kind = 'company'
;

-- group_ranks of languages.
CREATE OR REPLACE VIEW pulse.languages AS SELECT * EXCEPT (kind, name), name AS language FROM pulse.group_ranks WHERE kind = 'language'
;

-- group_ranks of topics.
CREATE OR REPLACE VIEW pulse.topics AS SELECT * EXCEPT (kind, name), name AS topic FROM pulse.group_ranks WHERE kind = 'topic'
;

-- Programming Language Distribution (CHAOSS): the bytes of each language in each
-- repository, and their share of the repository's. Bytes favour generated and
-- vendored code. For an owner, add up bytes.
CREATE OR REPLACE VIEW pulse.language_mix AS
SELECT
  repo_id, name_with_owner, toString(owner) AS owner, CAST(company, 'Nullable(String)') AS company, observed_at,
  mix.1 AS language, mix.2 AS bytes, if(arraySum(l -> l.2, languages) > 0, mix.2 / arraySum(l -> l.2, languages), NULL) AS share
FROM pulse.github_processed_repos FINAL
ARRAY JOIN languages AS mix
;

-- Activity Dates and Times (CHAOSS): by hour of the week, UTC; weekday 1 is
-- Monday. pushes counts the distinct times of a last push that were seen, so at
-- most one a reading. The others are net changes over an hour, in the hour of
-- the reading that saw them: known only where readings are hourly.
CREATE OR REPLACE VIEW pulse.activity_hours AS
SELECT
  repo_id, any(owner) AS owner, any(company) AS company, toDayOfWeek(at) AS weekday, toHour(at) AS hour,
  sum(push) AS pushes, sum(stars_delta) AS stars_delta, sum(commits_delta) AS commits_delta,
  sum(merged_prs_delta) AS merged_prs_delta, sum(closed_issues_delta) AS closed_issues_delta
FROM (
  SELECT repo_id, toString(owner) AS owner, CAST(company, 'Nullable(String)') AS company, observed_at AS at, 0 AS push,
    stars_delta_1h AS stars_delta, commits_total_delta_1h AS commits_delta, merged_prs_delta_1h AS merged_prs_delta, closed_issues_delta_1h AS closed_issues_delta
  FROM pulse.github_metrics_timeseries WHERE isNotNull(base_at_1h)
  UNION ALL
  SELECT repo_id, any(toString(owner)), any(CAST(company, 'Nullable(String)')), assumeNotNull(pushed_at) AS at, 1, NULL, NULL, NULL, NULL
  FROM pulse.github_metrics_timeseries WHERE isNotNull(pushed_at) GROUP BY repo_id, pushed_at
)
GROUP BY repo_id, weekday, hour
;

-- The releases that were seen as a repository's latest, each once, and whether a
-- patch followed within 7 days: a tag with the same beginning up to its last
-- number. A proxy of DORA's change failure; unknown until 7 days have passed.
-- Releases that were overtaken between two readings are unseen.
CREATE OR REPLACE VIEW pulse.releases AS
SELECT
  repo_id, owner, company, tag, released_at, next_tag, next_released_at,
  if(isNotNull(next_released_at) AND dateDiff('second', released_at, assumeNotNull(next_released_at)) <= 604800
      AND replaceRegexpOne(tag, '[0-9]+$', '') = replaceRegexpOne(assumeNotNull(next_tag), '[0-9]+$', ''),
    CAST(1, 'Nullable(UInt8)'),
    if(dateDiff('second', released_at, last_read) <= 604800, NULL, CAST(0, 'Nullable(UInt8)'))) AS patched_within_7d
FROM (
  SELECT *,
    leadInFrame(CAST(tag, 'Nullable(String)')) OVER following AS next_tag,
    leadInFrame(CAST(released_at, 'Nullable(DateTime64(3))')) OVER following AS next_released_at,
    max(read_at) OVER (PARTITION BY repo_id) AS last_read
  FROM (
    SELECT repo_id, any(toString(owner)) AS owner, any(CAST(company, 'Nullable(String)')) AS company, assumeNotNull(latest_release) AS tag,
      assumeNotNull(latest_release_at) AS released_at, max(observed_at) AS read_at
    FROM pulse.github_metrics_timeseries WHERE isNotNull(latest_release) AND isNotNull(latest_release_at)
    GROUP BY repo_id, tag, released_at
  )
  WINDOW following AS (PARTITION BY repo_id ORDER BY released_at, tag ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
)
;

-- version 4
-- What lines over months are drawn from: an hourly series has 24 times the rows.

-- The last reading of each repository on each UTC day. Read it with FINAL; a row
-- that comes again replaces itself. version is that of github_processed_repos.
CREATE TABLE IF NOT EXISTS pulse.github_daily (
  repo_id Int64,
  day Date,
  stars Int64,
  forks Nullable(Int64),
  watchers Nullable(Int64),
  open_issues Nullable(Int64),
  closed_issues Nullable(Int64),
  open_prs Nullable(Int64),
  merged_prs Nullable(Int64),
  closed_prs Nullable(Int64),
  releases Nullable(Int64),
  commits_total Nullable(Int64),
  stars_delta_24h Nullable(Int64),
  forks_delta_24h Nullable(Int64),
  open_issues_delta_24h Nullable(Int64),
  stars_per_day_24h Nullable(Float64),
  stars_per_day_7d Nullable(Float64),
  stars_per_day_30d Nullable(Float64),
  open_issues_per_day_7d Nullable(Float64),
  pushed_at Nullable(DateTime64(3)),
  observed_at DateTime64(3),
  version UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(day)
ORDER BY (repo_id, day)
;

INSERT INTO pulse.github_daily (repo_id, day, stars, forks, watchers, open_issues, closed_issues, open_prs, merged_prs, closed_prs, releases, commits_total, stars_delta_24h, forks_delta_24h, open_issues_delta_24h, stars_per_day_24h, stars_per_day_7d, stars_per_day_30d, open_issues_per_day_7d, pushed_at, observed_at, version)
SELECT repo_id, toDate(observed_at), stars, forks, watchers, open_issues, closed_issues, open_prs, merged_prs, closed_prs, releases, commits_total, stars_delta_24h, forks_delta_24h, open_issues_delta_24h, stars_per_day_24h, stars_per_day_7d, stars_per_day_30d, open_issues_per_day_7d, pushed_at, observed_at, bitShiftLeft(toUInt64(toUnixTimestamp64Milli(observed_at)), 16) + least(revision, 65535)
FROM pulse.github_metrics_timeseries SETTINGS max_execution_time = 0
;

-- Each time of a last push that was seen, once.
CREATE TABLE IF NOT EXISTS pulse.github_pushes (
  repo_id Int64,
  pushed_at DateTime64(3)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(pushed_at)
ORDER BY (repo_id, pushed_at)
;

INSERT INTO pulse.github_pushes (repo_id, pushed_at)
SELECT DISTINCT repo_id, assumeNotNull(pushed_at) FROM pulse.github_metrics_timeseries WHERE isNotNull(pushed_at) SETTINGS max_execution_time = 0
;

-- version 5

-- Each repository with its company and language as people read them: the owner
-- where it belongs to no company, none where no language is known.
CREATE OR REPLACE VIEW pulse.repositories AS
SELECT repo_id, name_with_owner, owner,
  multiIf(company IS NULL, toString(owner), company = 'nvidia', 'NVIDIA', initcap(assumeNotNull(toString(company)))) AS company_name,
  ifNull(primary_language, 'none') AS language, stars, observed_at, source
FROM pulse.github_processed_repos FINAL
;

-- version 6

-- Each repository with its company and language as people read them: the owner
-- where it belongs to no company, none where no language is known. Where several
-- have borne one name (deleted, and the name given again), the one observed last
-- has it as its label; the others are former, and their labels have their id.
CREATE OR REPLACE VIEW pulse.repositories AS
SELECT repo_id, name_with_owner, owner,
  multiIf(company IS NULL, toString(owner), company = 'nvidia', 'NVIDIA', initcap(assumeNotNull(toString(company)))) AS company_name,
  ifNull(primary_language, 'none') AS language, stars, observed_at, source,
  row_number() OVER (PARTITION BY lower(name_with_owner) ORDER BY observed_at DESC, repo_id DESC) > 1 AS is_former,
  if(is_former, concat(name_with_owner, ' (repo_id ', toString(repo_id), ')'), name_with_owner) AS label
FROM pulse.github_processed_repos FINAL
;

-- version 7
-- Wherever a repository is shown by its name, its label is there too: several may
-- have borne one name.

-- How the stars of each repository moved, a row for each period. Repositories
-- that were not read in the three days before the newest reading are left out:
-- an old rate is no news. per_day_before is the rate over the period before,
-- which follows from the acceleration: v0 = v1 - a * days(t - b1). is_former and
-- label are those of repositories.
CREATE OR REPLACE VIEW pulse.movements AS
SELECT
  s.repo_id AS repo_id, s.name_with_owner AS name_with_owner, toString(s.owner) AS owner, CAST(s.company, 'Nullable(String)') AS company,
  CAST(s.primary_language, 'Nullable(String)') AS primary_language, s.topics AS topics, s.observed_at AS observed_at, s.stars AS stars, s.forks AS forks,
  move.1 AS period, move.2 AS stars_delta, move.3 AS stars_per_day,
  move.3 - move.4 * (dateDiff('millisecond', move.5, s.observed_at) / 86400000) AS stars_per_day_before,
  named.is_former AS is_former, named.label AS label
FROM pulse.github_processed_repos AS s FINAL
JOIN pulse.repositories AS named ON named.repo_id = s.repo_id
ARRAY JOIN [
  ('1h', s.stars_delta_1h, s.stars_per_day_1h, CAST(NULL, 'Nullable(Float64)'), s.base_at_1h),
  ('24h', s.stars_delta_24h, s.stars_per_day_24h, s.stars_acceleration_24h, s.base_at_24h),
  ('7d', s.stars_delta_7d, s.stars_per_day_7d, s.stars_acceleration_7d, s.base_at_7d),
  ('30d', s.stars_delta_30d, s.stars_per_day_30d, s.stars_acceleration_30d, s.base_at_30d)
] AS move
WHERE s.observed_at > (SELECT max(observed_at) FROM pulse.github_processed_repos) - INTERVAL 3 DAY
;

-- The rank of each repository by the rate of its stars: among all, its owner's,
-- and those of its language; the rank in the period before; and its share of
-- the net growth of all. rank_change > 0 is a rise. Unknown without a rate.
-- is_former and label are those of repositories.
CREATE OR REPLACE VIEW pulse.repository_ranks AS
SELECT
  repo_id, name_with_owner, owner, company, primary_language, observed_at, stars, forks, period,
  stars_delta, stars_per_day, stars_per_day_before,
  if(isNull(stars_per_day), NULL, rank() OVER (PARTITION BY period ORDER BY stars_per_day DESC NULLS LAST)) AS rank,
  if(isNull(stars_per_day_before), NULL, rank() OVER (PARTITION BY period ORDER BY stars_per_day_before DESC NULLS LAST)) AS rank_before,
  toInt64(rank_before) - toInt64(rank) AS rank_change,
  if(isNull(stars_per_day), NULL, rank() OVER (PARTITION BY period, owner ORDER BY stars_per_day DESC NULLS LAST)) AS rank_in_owner,
  if(isNull(stars_per_day) OR isNull(primary_language), NULL,
    rank() OVER (PARTITION BY period, primary_language ORDER BY stars_per_day DESC NULLS LAST)) AS rank_in_language,
  sum(stars_delta) OVER (PARTITION BY period) AS growth_of_all,
  if(growth_of_all > 0, stars_delta / growth_of_all, NULL) AS share_of_growth,
  is_former, label
FROM pulse.movements
;

-- The same for groups of repositories: kind is owner, company, language or
-- topic. A repository counts in each of its topics, so their shares add up to
-- more than one. Members are those of today, in the period before too: a rank
-- changes because repositories moved, not because they were labelled anew.
-- repositories counts all members, measured those with a known rate.
CREATE OR REPLACE VIEW pulse.group_ranks AS
SELECT
  kind, name, period, repositories, measured, stars, forks, stars_delta, stars_per_day, stars_per_day_before,
  if(isNull(stars_per_day), NULL, rank() OVER (PARTITION BY kind, period ORDER BY stars_per_day DESC NULLS LAST)) AS rank,
  if(isNull(stars_per_day_before), NULL, rank() OVER (PARTITION BY kind, period ORDER BY stars_per_day_before DESC NULLS LAST)) AS rank_before,
  toInt64(rank_before) - toInt64(rank) AS rank_change,
  if(growth_of_all > 0, stars_delta / growth_of_all, NULL) AS share_of_growth
FROM (
  SELECT
    grouped.1 AS kind, grouped.2 AS name, period, count() AS repositories, count(m.stars_per_day) AS measured,
    sum(m.stars) AS stars, sum(m.forks) AS forks, sum(m.stars_delta) AS stars_delta,
    sum(m.stars_per_day) AS stars_per_day, sum(m.stars_per_day_before) AS stars_per_day_before, any(m.growth_of_all) AS growth_of_all
  FROM (
    SELECT *, sum(stars_delta) OVER (PARTITION BY period) AS growth_of_all, arrayFilter(g -> g.2 != '', arrayConcat(
      [('owner', owner), ('company', ifNull(company, '')), ('language', ifNull(primary_language, ''))],
      arrayMap(t -> ('topic', toString(t)), arrayDistinct(topics)))) AS groups
    FROM pulse.movements
  ) AS m
  ARRAY JOIN groups AS grouped
  GROUP BY kind, name, period
)
;

-- Programming Language Distribution (CHAOSS): the bytes of each language in each
-- repository, and their share of the repository's. Bytes favour generated and
-- vendored code. For an owner, add up bytes. is_former and label are those of
-- repositories.
CREATE OR REPLACE VIEW pulse.language_mix AS
SELECT
  s.repo_id AS repo_id, s.name_with_owner AS name_with_owner, toString(s.owner) AS owner, CAST(s.company, 'Nullable(String)') AS company, s.observed_at AS observed_at,
  mix.1 AS language, mix.2 AS bytes, if(arraySum(l -> l.2, s.languages) > 0, mix.2 / arraySum(l -> l.2, s.languages), NULL) AS share,
  named.is_former AS is_former, named.label AS label
FROM pulse.github_processed_repos AS s FINAL
JOIN pulse.repositories AS named ON named.repo_id = s.repo_id
ARRAY JOIN s.languages AS mix
;

-- version 8

-- A rate is its delta over the days between the two readings. It is computed when
-- it is read and takes no room; SELECT * leaves it out. github_daily keeps its four:
-- it has not all that they follow from.
ALTER TABLE pulse.github_processed_repos
  DROP COLUMN IF EXISTS stars_per_day_1h,
  DROP COLUMN IF EXISTS stars_per_day_24h,
  DROP COLUMN IF EXISTS stars_per_day_7d,
  DROP COLUMN IF EXISTS stars_per_day_30d,
  DROP COLUMN IF EXISTS forks_per_day_1h,
  DROP COLUMN IF EXISTS forks_per_day_24h,
  DROP COLUMN IF EXISTS forks_per_day_7d,
  DROP COLUMN IF EXISTS forks_per_day_30d,
  DROP COLUMN IF EXISTS open_issues_per_day_1h,
  DROP COLUMN IF EXISTS open_issues_per_day_24h,
  DROP COLUMN IF EXISTS open_issues_per_day_7d,
  DROP COLUMN IF EXISTS open_issues_per_day_30d,
  DROP COLUMN IF EXISTS merged_prs_per_day_1h,
  DROP COLUMN IF EXISTS merged_prs_per_day_24h,
  DROP COLUMN IF EXISTS merged_prs_per_day_7d,
  DROP COLUMN IF EXISTS merged_prs_per_day_30d,
  DROP COLUMN IF EXISTS closed_issues_per_day_1h,
  DROP COLUMN IF EXISTS closed_issues_per_day_24h,
  DROP COLUMN IF EXISTS closed_issues_per_day_7d,
  DROP COLUMN IF EXISTS closed_issues_per_day_30d,
  DROP COLUMN IF EXISTS commits_total_per_day_1h,
  DROP COLUMN IF EXISTS commits_total_per_day_24h,
  DROP COLUMN IF EXISTS commits_total_per_day_7d,
  DROP COLUMN IF EXISTS commits_total_per_day_30d,
  DROP COLUMN IF EXISTS watchers_per_day_1h,
  DROP COLUMN IF EXISTS watchers_per_day_24h,
  DROP COLUMN IF EXISTS watchers_per_day_7d,
  DROP COLUMN IF EXISTS watchers_per_day_30d,
  DROP COLUMN IF EXISTS open_prs_per_day_1h,
  DROP COLUMN IF EXISTS open_prs_per_day_24h,
  DROP COLUMN IF EXISTS open_prs_per_day_7d,
  DROP COLUMN IF EXISTS open_prs_per_day_30d,
  DROP COLUMN IF EXISTS closed_prs_per_day_1h,
  DROP COLUMN IF EXISTS closed_prs_per_day_24h,
  DROP COLUMN IF EXISTS closed_prs_per_day_7d,
  DROP COLUMN IF EXISTS closed_prs_per_day_30d,
  DROP COLUMN IF EXISTS discussions_per_day_1h,
  DROP COLUMN IF EXISTS discussions_per_day_24h,
  DROP COLUMN IF EXISTS discussions_per_day_7d,
  DROP COLUMN IF EXISTS discussions_per_day_30d,
  DROP COLUMN IF EXISTS releases_per_day_1h,
  DROP COLUMN IF EXISTS releases_per_day_24h,
  DROP COLUMN IF EXISTS releases_per_day_7d,
  DROP COLUMN IF EXISTS releases_per_day_30d
;

ALTER TABLE pulse.github_processed_repos
  ADD COLUMN IF NOT EXISTS stars_per_day_1h Nullable(Float64) ALIAS stars_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS stars_per_day_24h Nullable(Float64) ALIAS stars_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS stars_per_day_7d Nullable(Float64) ALIAS stars_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS stars_per_day_30d Nullable(Float64) ALIAS stars_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS forks_per_day_1h Nullable(Float64) ALIAS forks_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS forks_per_day_24h Nullable(Float64) ALIAS forks_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS forks_per_day_7d Nullable(Float64) ALIAS forks_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS forks_per_day_30d Nullable(Float64) ALIAS forks_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS watchers_per_day_1h Nullable(Float64) ALIAS watchers_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS watchers_per_day_24h Nullable(Float64) ALIAS watchers_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS watchers_per_day_7d Nullable(Float64) ALIAS watchers_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS watchers_per_day_30d Nullable(Float64) ALIAS watchers_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS open_issues_per_day_1h Nullable(Float64) ALIAS open_issues_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS open_issues_per_day_24h Nullable(Float64) ALIAS open_issues_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS open_issues_per_day_7d Nullable(Float64) ALIAS open_issues_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS open_issues_per_day_30d Nullable(Float64) ALIAS open_issues_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS closed_issues_per_day_1h Nullable(Float64) ALIAS closed_issues_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS closed_issues_per_day_24h Nullable(Float64) ALIAS closed_issues_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS closed_issues_per_day_7d Nullable(Float64) ALIAS closed_issues_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS closed_issues_per_day_30d Nullable(Float64) ALIAS closed_issues_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS open_prs_per_day_1h Nullable(Float64) ALIAS open_prs_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS open_prs_per_day_24h Nullable(Float64) ALIAS open_prs_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS open_prs_per_day_7d Nullable(Float64) ALIAS open_prs_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS open_prs_per_day_30d Nullable(Float64) ALIAS open_prs_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS merged_prs_per_day_1h Nullable(Float64) ALIAS merged_prs_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS merged_prs_per_day_24h Nullable(Float64) ALIAS merged_prs_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS merged_prs_per_day_7d Nullable(Float64) ALIAS merged_prs_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS merged_prs_per_day_30d Nullable(Float64) ALIAS merged_prs_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS closed_prs_per_day_1h Nullable(Float64) ALIAS closed_prs_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS closed_prs_per_day_24h Nullable(Float64) ALIAS closed_prs_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS closed_prs_per_day_7d Nullable(Float64) ALIAS closed_prs_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS closed_prs_per_day_30d Nullable(Float64) ALIAS closed_prs_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS discussions_per_day_1h Nullable(Float64) ALIAS discussions_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS discussions_per_day_24h Nullable(Float64) ALIAS discussions_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS discussions_per_day_7d Nullable(Float64) ALIAS discussions_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS discussions_per_day_30d Nullable(Float64) ALIAS discussions_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS releases_per_day_1h Nullable(Float64) ALIAS releases_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS releases_per_day_24h Nullable(Float64) ALIAS releases_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS releases_per_day_7d Nullable(Float64) ALIAS releases_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS releases_per_day_30d Nullable(Float64) ALIAS releases_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS commits_total_per_day_1h Nullable(Float64) ALIAS commits_total_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS commits_total_per_day_24h Nullable(Float64) ALIAS commits_total_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS commits_total_per_day_7d Nullable(Float64) ALIAS commits_total_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS commits_total_per_day_30d Nullable(Float64) ALIAS commits_total_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000)
;

ALTER TABLE pulse.github_metrics_timeseries
  DROP COLUMN IF EXISTS stars_per_day_1h,
  DROP COLUMN IF EXISTS stars_per_day_24h,
  DROP COLUMN IF EXISTS stars_per_day_7d,
  DROP COLUMN IF EXISTS stars_per_day_30d,
  DROP COLUMN IF EXISTS forks_per_day_1h,
  DROP COLUMN IF EXISTS forks_per_day_24h,
  DROP COLUMN IF EXISTS forks_per_day_7d,
  DROP COLUMN IF EXISTS forks_per_day_30d,
  DROP COLUMN IF EXISTS open_issues_per_day_1h,
  DROP COLUMN IF EXISTS open_issues_per_day_24h,
  DROP COLUMN IF EXISTS open_issues_per_day_7d,
  DROP COLUMN IF EXISTS open_issues_per_day_30d,
  DROP COLUMN IF EXISTS merged_prs_per_day_1h,
  DROP COLUMN IF EXISTS merged_prs_per_day_24h,
  DROP COLUMN IF EXISTS merged_prs_per_day_7d,
  DROP COLUMN IF EXISTS merged_prs_per_day_30d,
  DROP COLUMN IF EXISTS closed_issues_per_day_1h,
  DROP COLUMN IF EXISTS closed_issues_per_day_24h,
  DROP COLUMN IF EXISTS closed_issues_per_day_7d,
  DROP COLUMN IF EXISTS closed_issues_per_day_30d,
  DROP COLUMN IF EXISTS commits_total_per_day_1h,
  DROP COLUMN IF EXISTS commits_total_per_day_24h,
  DROP COLUMN IF EXISTS commits_total_per_day_7d,
  DROP COLUMN IF EXISTS commits_total_per_day_30d,
  DROP COLUMN IF EXISTS watchers_per_day_1h,
  DROP COLUMN IF EXISTS watchers_per_day_24h,
  DROP COLUMN IF EXISTS watchers_per_day_7d,
  DROP COLUMN IF EXISTS watchers_per_day_30d,
  DROP COLUMN IF EXISTS open_prs_per_day_1h,
  DROP COLUMN IF EXISTS open_prs_per_day_24h,
  DROP COLUMN IF EXISTS open_prs_per_day_7d,
  DROP COLUMN IF EXISTS open_prs_per_day_30d,
  DROP COLUMN IF EXISTS closed_prs_per_day_1h,
  DROP COLUMN IF EXISTS closed_prs_per_day_24h,
  DROP COLUMN IF EXISTS closed_prs_per_day_7d,
  DROP COLUMN IF EXISTS closed_prs_per_day_30d,
  DROP COLUMN IF EXISTS discussions_per_day_1h,
  DROP COLUMN IF EXISTS discussions_per_day_24h,
  DROP COLUMN IF EXISTS discussions_per_day_7d,
  DROP COLUMN IF EXISTS discussions_per_day_30d,
  DROP COLUMN IF EXISTS releases_per_day_1h,
  DROP COLUMN IF EXISTS releases_per_day_24h,
  DROP COLUMN IF EXISTS releases_per_day_7d,
  DROP COLUMN IF EXISTS releases_per_day_30d
;

ALTER TABLE pulse.github_metrics_timeseries
  ADD COLUMN IF NOT EXISTS stars_per_day_1h Nullable(Float64) ALIAS stars_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS stars_per_day_24h Nullable(Float64) ALIAS stars_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS stars_per_day_7d Nullable(Float64) ALIAS stars_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS stars_per_day_30d Nullable(Float64) ALIAS stars_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS forks_per_day_1h Nullable(Float64) ALIAS forks_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS forks_per_day_24h Nullable(Float64) ALIAS forks_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS forks_per_day_7d Nullable(Float64) ALIAS forks_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS forks_per_day_30d Nullable(Float64) ALIAS forks_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS watchers_per_day_1h Nullable(Float64) ALIAS watchers_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS watchers_per_day_24h Nullable(Float64) ALIAS watchers_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS watchers_per_day_7d Nullable(Float64) ALIAS watchers_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS watchers_per_day_30d Nullable(Float64) ALIAS watchers_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS open_issues_per_day_1h Nullable(Float64) ALIAS open_issues_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS open_issues_per_day_24h Nullable(Float64) ALIAS open_issues_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS open_issues_per_day_7d Nullable(Float64) ALIAS open_issues_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS open_issues_per_day_30d Nullable(Float64) ALIAS open_issues_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS closed_issues_per_day_1h Nullable(Float64) ALIAS closed_issues_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS closed_issues_per_day_24h Nullable(Float64) ALIAS closed_issues_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS closed_issues_per_day_7d Nullable(Float64) ALIAS closed_issues_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS closed_issues_per_day_30d Nullable(Float64) ALIAS closed_issues_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS open_prs_per_day_1h Nullable(Float64) ALIAS open_prs_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS open_prs_per_day_24h Nullable(Float64) ALIAS open_prs_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS open_prs_per_day_7d Nullable(Float64) ALIAS open_prs_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS open_prs_per_day_30d Nullable(Float64) ALIAS open_prs_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS merged_prs_per_day_1h Nullable(Float64) ALIAS merged_prs_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS merged_prs_per_day_24h Nullable(Float64) ALIAS merged_prs_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS merged_prs_per_day_7d Nullable(Float64) ALIAS merged_prs_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS merged_prs_per_day_30d Nullable(Float64) ALIAS merged_prs_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS closed_prs_per_day_1h Nullable(Float64) ALIAS closed_prs_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS closed_prs_per_day_24h Nullable(Float64) ALIAS closed_prs_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS closed_prs_per_day_7d Nullable(Float64) ALIAS closed_prs_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS closed_prs_per_day_30d Nullable(Float64) ALIAS closed_prs_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS discussions_per_day_1h Nullable(Float64) ALIAS discussions_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS discussions_per_day_24h Nullable(Float64) ALIAS discussions_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS discussions_per_day_7d Nullable(Float64) ALIAS discussions_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS discussions_per_day_30d Nullable(Float64) ALIAS discussions_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS releases_per_day_1h Nullable(Float64) ALIAS releases_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS releases_per_day_24h Nullable(Float64) ALIAS releases_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS releases_per_day_7d Nullable(Float64) ALIAS releases_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS releases_per_day_30d Nullable(Float64) ALIAS releases_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS commits_total_per_day_1h Nullable(Float64) ALIAS commits_total_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS commits_total_per_day_24h Nullable(Float64) ALIAS commits_total_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS commits_total_per_day_7d Nullable(Float64) ALIAS commits_total_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS commits_total_per_day_30d Nullable(Float64) ALIAS commits_total_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000)
;

-- version 9

ALTER TABLE pulse.github_processed_repos
  ADD COLUMN IF NOT EXISTS assignable_users Nullable(Int64),
  ADD COLUMN IF NOT EXISTS assignable_users_delta_1h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS assignable_users_delta_24h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS assignable_users_delta_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS assignable_users_delta_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS commits_per_assignable_user_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS assignable_users_per_day_1h Nullable(Float64) ALIAS assignable_users_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS assignable_users_per_day_24h Nullable(Float64) ALIAS assignable_users_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS assignable_users_per_day_7d Nullable(Float64) ALIAS assignable_users_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS assignable_users_per_day_30d Nullable(Float64) ALIAS assignable_users_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000)
;

ALTER TABLE pulse.github_metrics_timeseries
  ADD COLUMN IF NOT EXISTS assignable_users Nullable(Int64),
  ADD COLUMN IF NOT EXISTS assignable_users_delta_1h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS assignable_users_delta_24h Nullable(Int64),
  ADD COLUMN IF NOT EXISTS assignable_users_delta_7d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS assignable_users_delta_30d Nullable(Int64),
  ADD COLUMN IF NOT EXISTS commits_per_assignable_user_30d Nullable(Float64),
  ADD COLUMN IF NOT EXISTS assignable_users_per_day_1h Nullable(Float64) ALIAS assignable_users_delta_1h / (dateDiff('millisecond', base_at_1h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS assignable_users_per_day_24h Nullable(Float64) ALIAS assignable_users_delta_24h / (dateDiff('millisecond', base_at_24h, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS assignable_users_per_day_7d Nullable(Float64) ALIAS assignable_users_delta_7d / (dateDiff('millisecond', base_at_7d, observed_at) / 86400000),
  ADD COLUMN IF NOT EXISTS assignable_users_per_day_30d Nullable(Float64) ALIAS assignable_users_delta_30d / (dateDiff('millisecond', base_at_30d, observed_at) / 86400000)
;

-- version 10

ALTER TABLE pulse.github_processed_repos
  ADD COLUMN IF NOT EXISTS commits_per_merged_pr_30d Nullable(Float64)
;

ALTER TABLE pulse.github_metrics_timeseries
  ADD COLUMN IF NOT EXISTS commits_per_merged_pr_30d Nullable(Float64)
;

-- version 11

-- An insert that was given up may still be on its way, in the buffer of a kernel or
-- a proxy. Whoever looks which rows are there has to know that no more can arrive:
-- a block that arrives after the time that it names is refused. The time is not stored.
ALTER TABLE pulse.github_metrics_timeseries
  ADD COLUMN IF NOT EXISTS insert_before DateTime64(3) EPHEMERAL '2299-12-31 00:00:00',
  ADD COLUMN IF NOT EXISTS in_time Bool MATERIALIZED NOT throwIf(nowInBlock() >= insert_before, 'the insert arrived after insert_before')
;

-- version 12

-- The events of GitHub's feeds, each once: docs/events.md. Before an insert its keys
-- are looked up, so an insert that arrives late is refused, as in the time series.
CREATE TABLE IF NOT EXISTS pulse.github_events (
  event_type LowCardinality(String),
  event_id Int64,
  created_at DateTime64(3),
  repo_id Int64,
  name_with_owner LowCardinality(String),
  owner LowCardinality(String),
  actor_id Nullable(Int64),
  actor_login Nullable(String),
  actor_is_bot Bool,
  action LowCardinality(Nullable(String)),
  subject_kind LowCardinality(Nullable(String)),
  number Nullable(Int64),
  author_id Nullable(Int64),
  author_login Nullable(String),
  author_is_bot Nullable(Bool),
  subject_created_at Nullable(DateTime64(3)),
  subject_closed_at Nullable(DateTime64(3)),
  subject_merged_at Nullable(DateTime64(3)),
  review_state LowCardinality(Nullable(String)),
  ref Nullable(String),
  commits Nullable(Int64),
  release_tag Nullable(String),
  payload Nullable(String),
  observed_at DateTime64(3),
  source LowCardinality(String),
  insert_before DateTime64(3) EPHEMERAL '2299-12-31 00:00:00',
  in_time Bool MATERIALIZED NOT throwIf(nowInBlock() >= insert_before, 'the insert arrived after insert_before')
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(created_at)
ORDER BY (repo_id, created_at, event_type, event_id)
;

-- The ledger of the feeds. A line that was written again after a crash replaces the
-- one before: it has the same since.
CREATE TABLE IF NOT EXISTS pulse.github_feed_reads (
  repo_id Int64,
  name_with_owner LowCardinality(String),
  owner LowCardinality(String),
  status LowCardinality(String),
  since Nullable(DateTime64(3)),
  read_at DateTime64(3),
  events Int64,
  unreadable Int64,
  requests Int64,
  gap_from Nullable(DateTime64(3)),
  gap_to Nullable(DateTime64(3)),
  next_seconds Float64,
  reason Nullable(String)
)
ENGINE = ReplacingMergeTree(read_at)
ORDER BY (repo_id, ifNull(since, toDateTime64('1970-01-01 00:00:00', 3)), toDate(read_at))
;

-- version 13

-- How many of GitHub's events were lost before they were stored: the events between
-- the last readings of two UTC days against the change of the counters between the
-- same readings. Feeds leave events out, and GitHub does not say which. kind is the
-- counter. Of forks, merged_prs, closed_prs, closed_issues and releases each change has
-- its event, so coverage is events over change; of closed_prs and closed_issues
-- reopenings are subtracted. all is the sum of these five. stars come and go, and no
-- event says that one went, so change is a lower bound of the events there were:
-- coverage is at most what it says, and unknown where there are as many events or
-- more. is_known: both days were read, the feed reaches back to since, and was read 6
-- hours after until, by when GitHub shows an event. coverage is unknown otherwise, and
-- where a counter did not rise. verdict is complete from 0.95. has_gap: the ledger has
-- a gap in the span.
CREATE OR REPLACE VIEW pulse.event_coverage AS
WITH
  spans AS (
    SELECT d.repo_id AS repo_id, d.day AS day, b.observed_at AS since, d.observed_at AS until,
      d.stars - b.stars AS stars, d.forks - b.forks AS forks, d.merged_prs - b.merged_prs AS merged_prs,
      d.closed_prs - b.closed_prs AS closed_prs, d.closed_issues - b.closed_issues AS closed_issues, d.releases - b.releases AS releases
    FROM (SELECT * FROM pulse.github_daily FINAL) AS d
    JOIN (SELECT *, day + 1 AS next_day FROM pulse.github_daily FINAL) AS b ON b.repo_id = d.repo_id AND b.next_day = d.day
  ),
  counted AS (
    SELECT e.repo_id AS repo_id, s.day AS day,
      toInt64(countIf(event_type = 'WatchEvent')) AS stars,
      toInt64(countIf(event_type = 'ForkEvent')) AS forks,
      toInt64(countIf(event_type = 'PullRequestEvent' AND action = 'merged')) AS merged_prs,
      toInt64(countIf(event_type = 'PullRequestEvent' AND action = 'closed')) - toInt64(countIf(event_type = 'PullRequestEvent' AND action = 'reopened')) AS closed_prs,
      toInt64(countIf(event_type = 'IssuesEvent' AND action = 'closed')) - toInt64(countIf(event_type = 'IssuesEvent' AND action = 'reopened')) AS closed_issues,
      toInt64(countIf(event_type = 'ReleaseEvent' AND action = 'published')) AS releases
    FROM (
      SELECT repo_id, created_at, event_type, action FROM pulse.github_events
      WHERE event_type IN ('WatchEvent', 'ForkEvent', 'PullRequestEvent', 'IssuesEvent', 'ReleaseEvent')
    ) AS e
    ASOF JOIN spans AS s ON s.repo_id = e.repo_id AND s.until >= e.created_at
    WHERE e.created_at > s.since
    GROUP BY repo_id, day
  ),
  feeds AS (
    SELECT repo_id, min(since) AS since, max(until) AS until, groupArrayArray(lost) AS gaps
    FROM (
      SELECT repo_id, min(created_at) AS since, max(created_at) AS until, [] AS lost FROM pulse.github_events GROUP BY repo_id
      UNION ALL
      SELECT repo_id, min(read_at), max(read_at), groupArrayIf((assumeNotNull(gap_from), assumeNotNull(gap_to)), isNotNull(gap_from) AND isNotNull(gap_to))
      FROM (SELECT * FROM pulse.github_feed_reads FINAL) WHERE status != 'failed' GROUP BY repo_id
    )
    GROUP BY repo_id
  ),
  [('forks', c.forks, s.forks), ('merged_prs', c.merged_prs, s.merged_prs), ('closed_prs', c.closed_prs, s.closed_prs),
    ('closed_issues', c.closed_issues, s.closed_issues), ('releases', c.releases, s.releases)] AS exact,
  arrayFilter(k -> ifNull(k.3 >= 0, false), exact) AS risen
SELECT
  s.repo_id AS repo_id, r.name_with_owner AS name_with_owner, toString(r.owner) AS owner, CAST(r.company, 'Nullable(String)') AS company,
  s.day AS day, s.since AS since, s.until AS until, compared.1 AS kind, compared.2 AS events, compared.3 AS change,
  toBool(f.since <= s.since AND f.until >= s.until + INTERVAL 6 HOUR AND ifNull(change >= 0, false)) AS is_known,
  toBool(arrayExists(g -> g.1 < s.until AND g.2 > s.since, f.gaps)) AS has_gap,
  if(NOT is_known OR change = 0 OR kind = 'stars' AND events >= change, NULL, events / change) AS coverage,
  CAST(multiIf(isNull(coverage), NULL, coverage >= 0.95, 'complete', 'incomplete'), 'Nullable(String)') AS verdict
FROM spans AS s
JOIN feeds AS f ON f.repo_id = s.repo_id
JOIN (SELECT repo_id, name_with_owner, owner, company FROM pulse.github_processed_repos FINAL) AS r ON r.repo_id = s.repo_id
LEFT JOIN counted AS c ON c.repo_id = s.repo_id AND c.day = s.day
ARRAY JOIN arrayConcat(
  [('all', arraySum(k -> k.2, risen), if(empty(risen), NULL, arraySum(k -> assumeNotNull(k.3), risen))), ('stars', c.stars, toNullable(s.stars))], exact) AS compared
;

-- version 14

-- What an account did to the work in a repository, a row each: pushes, branches and
-- tags, issues and pull requests, comments and reviews, discussions, releases, the
-- wiki. Stars and forks are left out: they change nothing in it.
CREATE OR REPLACE VIEW pulse.contributions AS
SELECT repo_id, name_with_owner, toString(owner) AS owner, created_at, toString(event_type) AS event_type, assumeNotNull(actor_id) AS actor, actor_login, actor_is_bot
FROM pulse.github_events
WHERE isNotNull(actor_id) AND event_type IN ('PushEvent', 'CreateEvent', 'DeleteEvent', 'IssuesEvent', 'IssueCommentEvent', 'PullRequestEvent',
  'PullRequestReviewEvent', 'PullRequestReviewCommentEvent', 'CommitCommentEvent', 'DiscussionEvent', 'DiscussionCommentEvent', 'ReleaseEvent', 'GollumEvent')
;

-- Each issue and pull request that an event is about. Its author and opened_at are what
-- a payload says of it, or the event that opened it: unknown where it was opened before
-- the feed was read, or where that event was lost. first_response_at is when first a
-- person other than the author commented, reviewed, merged or closed it; first_review_at
-- is that of reviews alone. Both are unknown without an author. closed_at is unknown of
-- one that is open by its last events; merging closes. reopened is how often.
CREATE OR REPLACE VIEW pulse.items AS
SELECT
  repo_id, assumeNotNull(number) AS number, if(is_pull, 'pull_request', 'issue') AS kind, author_id, author_login, author_is_bot, opened_at, first_event_at, last_event_at,
  arrayReduce('minOrNull', arrayMap(r -> if(ifNull(r.1 != author_id, false), r.2, NULL), others)) AS first_response_at,
  arrayReduce('minOrNull', arrayMap(r -> if(ifNull(r.1 != author_id, false), r.3, NULL), others)) AS first_review_at,
  merged_at, if(isNull(reopened_at) OR reopened_at < ended_at, ended_at, NULL) AS closed_at, reopened
FROM (
  SELECT
    repo_id, number, max(pull) AS is_pull, coalesce(any(author_id), any(opener_id)) AS author_id, coalesce(any(author_login), any(opener_login)) AS author_login,
    coalesce(any(author_is_bot), any(opener_is_bot)) AS author_is_bot, coalesce(min(begun_at), min(open_at)) AS opened_at, min(first_at) AS first_event_at, max(last_at) AS last_event_at,
    groupArrayIf((actor_id, response_at, review_at), isNotNull(response_at)) AS others, coalesce(min(merge_at), min(said_merged_at)) AS merged_at,
    arrayReduce('maxOrNull', [max(close_at), max(said_closed_at)]) AS ended_at, max(reopen_at) AS reopened_at, sum(reopenings) AS reopened
  FROM (
    SELECT
      repo_id, number, actor_id, max(subject_kind = 'pull_request') AS pull, any(author_id) AS author_id, any(author_login) AS author_login, any(author_is_bot) AS author_is_bot,
      anyOrNullIf(actor_id, opens) AS opener_id, anyOrNullIf(actor_login, opens) AS opener_login, anyOrNullIf(actor_is_bot, opens) AS opener_is_bot,
      min(subject_created_at) AS begun_at, minOrNullIf(created_at, opens) AS open_at, min(created_at) AS first_at, max(created_at) AS last_at,
      minOrNullIf(created_at, NOT actor_is_bot AND (reviews OR changes AND action IN ('closed', 'merged') OR event_type = 'IssueCommentEvent' AND action = 'created')) AS response_at,
      minOrNullIf(created_at, NOT actor_is_bot AND reviews) AS review_at,
      minOrNullIf(created_at, changes AND action = 'merged') AS merge_at, min(subject_merged_at) AS said_merged_at,
      maxOrNullIf(created_at, changes AND action IN ('closed', 'merged')) AS close_at, max(subject_closed_at) AS said_closed_at,
      maxOrNullIf(created_at, changes AND action = 'reopened') AS reopen_at, toInt64(countIf(changes AND action = 'reopened')) AS reopenings
    FROM (
      SELECT *, event_type IN ('IssuesEvent', 'PullRequestEvent') AS changes, event_type IN ('PullRequestReviewEvent', 'PullRequestReviewCommentEvent') AS reviews,
        changes AND ifNull(action = 'opened', false) AS opens
      FROM pulse.github_events WHERE subject_kind IN ('issue', 'pull_request') AND isNotNull(number)
    )
    GROUP BY repo_id, number, actor_id
  )
  GROUP BY repo_id, number
)
;

-- version 15

-- Signals, each once, read with FINAL. Of one that comes again the first row stays, as
-- in Iceberg and in the account of Kafka: what was said first.
CREATE TABLE IF NOT EXISTS pulse.github_signals (
  signal_id String,
  kind LowCardinality(String),
  severity LowCardinality(String),
  repo_id Nullable(Int64),
  name_with_owner LowCardinality(Nullable(String)),
  owner LowCardinality(String),
  company LowCardinality(Nullable(String)),
  observed_at DateTime64(3),
  metric LowCardinality(Nullable(String)),
  value Nullable(Float64),
  usual Nullable(Float64),
  window LowCardinality(Nullable(String)),
  words String,
  evidence String,
  earliest Int64 MATERIALIZED -toUnixTimestamp64Micro(now64(6))
)
ENGINE = ReplacingMergeTree(earliest)
ORDER BY (observed_at, signal_id)
;

-- version 16

-- When a row was stored, by the server's clock: an audit leaves out what was stored
-- after it began. Rows of before this version have 1970.
ALTER TABLE pulse.github_events ADD COLUMN IF NOT EXISTS stored_at DateTime64(6) MATERIALIZED toDateTime64(0, 6)
;

ALTER TABLE pulse.github_events MATERIALIZE COLUMN stored_at SETTINGS mutations_sync = 2
;

ALTER TABLE pulse.github_events MODIFY COLUMN stored_at DateTime64(6) MATERIALIZED now64(6)
;

-- version 17

-- The tables that grow are compressed by ZSTD from here on: 0.62 of LZ4's bytes for
-- the recording, at a tenth more of the server's time for an insert. What is stored
-- already is compressed anew when it is merged.
ALTER TABLE pulse.github_metrics_timeseries MODIFY SETTING default_compression_codec = 'ZSTD(1)'
;

ALTER TABLE pulse.github_events MODIFY SETTING default_compression_codec = 'ZSTD(1)'
;

-- version 18

-- What became of each expectation of the data, by run: pulse quality writes it. since
-- is the run from which on it has been so.
CREATE TABLE IF NOT EXISTS pulse.quality_results (
  checked_at DateTime64(3),
  since DateTime64(3),
  suite LowCardinality(String),
  expectation LowCardinality(String),
  store LowCardinality(String),
  severity LowCardinality(String),
  passed Bool,
  observed String,
  unexpected Nullable(Int64),
  checked Nullable(Int64),
  error String,
  seconds Float64
)
ENGINE = ReplacingMergeTree
ORDER BY (expectation, checked_at)
TTL toDateTime(checked_at) + INTERVAL 400 DAY
;
