-- Hot and cold as one, in the schema iceberg.pulse; safe to repeat. Run it when
-- the functions have made their tables.

CREATE SCHEMA IF NOT EXISTS iceberg.pulse;

-- Observations from this moment on come from ClickHouse, all before from Iceberg.
-- It must lie further back than sink-iceberg can lag. It is the same throughout
-- one query, so nothing is counted twice and nothing is missed.
CREATE OR REPLACE VIEW iceberg.pulse.boundary AS
SELECT CAST(date_trunc('day', current_timestamp AT TIME ZONE 'UTC') - INTERVAL '7' DAY AS timestamp(6)) AS at;

-- Every observation of a repository, once, in UTC. Several repositories may have
-- borne one name: label is the name that a repository has now, with its id if it is
-- former, as in ClickHouse's pulse.repositories, or if it is not there.
CREATE OR REPLACE VIEW iceberg.pulse.observations AS
SELECT o.*, coalesce(r.is_former = 1, false) AS is_former,
  coalesce(r.label, concat(o.name_with_owner, ' (repo_id ', CAST(o.repo_id AS varchar), ')')) AS label
FROM (
SELECT 'hot' AS store,
  repo_id, name_with_owner, owner, owner_type, company, primary_language, is_fork, is_archived,
  CAST(created_at AS timestamp(6)) AS created_at, CAST(pushed_at AS timestamp(6)) AS pushed_at, stars, forks, watchers, open_issues,
  closed_issues, open_prs, merged_prs, closed_prs, assignable_users, discussions, releases, latest_release,
  CAST(latest_release_at AS timestamp(6)) AS latest_release_at, commits_total, disk_kb,
  CAST(observed_at AS timestamp(6)) AS observed_at, sweep_id, source, CAST(processed_at AS timestamp(6)) AS processed_at, revision,
  late, CAST(base_at_1h AS timestamp(6)) AS base_at_1h, CAST(base_at_24h AS timestamp(6)) AS base_at_24h,
  CAST(base_at_7d AS timestamp(6)) AS base_at_7d, CAST(base_at_30d AS timestamp(6)) AS base_at_30d, stars_delta_1h, stars_delta_24h,
  stars_delta_7d, stars_delta_30d, forks_delta_1h, forks_delta_24h, forks_delta_7d, forks_delta_30d, watchers_delta_1h,
  watchers_delta_24h, watchers_delta_7d, watchers_delta_30d, open_issues_delta_1h, open_issues_delta_24h, open_issues_delta_7d,
  open_issues_delta_30d, closed_issues_delta_1h, closed_issues_delta_24h, closed_issues_delta_7d, closed_issues_delta_30d,
  open_prs_delta_1h, open_prs_delta_24h, open_prs_delta_7d, open_prs_delta_30d, merged_prs_delta_1h, merged_prs_delta_24h,
  merged_prs_delta_7d, merged_prs_delta_30d, closed_prs_delta_1h, closed_prs_delta_24h, closed_prs_delta_7d, closed_prs_delta_30d,
  discussions_delta_1h, discussions_delta_24h, discussions_delta_7d, discussions_delta_30d, releases_delta_1h, releases_delta_24h,
  releases_delta_7d, releases_delta_30d, commits_total_delta_1h, commits_total_delta_24h, commits_total_delta_7d,
  commits_total_delta_30d, assignable_users_delta_1h, assignable_users_delta_24h, assignable_users_delta_7d,
  assignable_users_delta_30d, stars_acceleration_24h, stars_acceleration_7d, stars_acceleration_30d, issues_opened_24h,
  issues_opened_7d, issues_opened_30d, issue_closure_ratio_24h, issue_closure_ratio_7d, issue_closure_ratio_30d, backlog_index_24h,
  backlog_index_7d, backlog_index_30d, prs_opened_24h, prs_opened_7d, prs_opened_30d, pr_acceptance_ratio_24h,
  pr_acceptance_ratio_7d, pr_acceptance_ratio_30d, active_days_7d, active_days_30d, observed_days_7d, observed_days_30d,
  commits_per_merged_pr_30d, commits_per_assignable_user_30d, releases_per_week_30d, days_since_release, days_since_push, burst_z,
  is_burst, breakout_z, is_breakout, is_suspicious, milestone, is_renamed, is_branch_changed, is_history_rewritten, health_activity,
  health_maintenance, health_closure, health_acceptance, health_release, health_score, health_parts,
  CAST(stars_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS stars_per_day_1h,
  CAST(stars_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS stars_per_day_24h,
  CAST(stars_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS stars_per_day_7d,
  CAST(stars_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS stars_per_day_30d,
  CAST(forks_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS forks_per_day_1h,
  CAST(forks_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS forks_per_day_24h,
  CAST(forks_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS forks_per_day_7d,
  CAST(forks_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS forks_per_day_30d,
  CAST(watchers_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS watchers_per_day_1h,
  CAST(watchers_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS watchers_per_day_24h,
  CAST(watchers_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS watchers_per_day_7d,
  CAST(watchers_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS watchers_per_day_30d,
  CAST(open_issues_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS open_issues_per_day_1h,
  CAST(open_issues_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS open_issues_per_day_24h,
  CAST(open_issues_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS open_issues_per_day_7d,
  CAST(open_issues_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS open_issues_per_day_30d,
  CAST(closed_issues_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS closed_issues_per_day_1h,
  CAST(closed_issues_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS closed_issues_per_day_24h,
  CAST(closed_issues_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS closed_issues_per_day_7d,
  CAST(closed_issues_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS closed_issues_per_day_30d,
  CAST(open_prs_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS open_prs_per_day_1h,
  CAST(open_prs_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS open_prs_per_day_24h,
  CAST(open_prs_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS open_prs_per_day_7d,
  CAST(open_prs_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS open_prs_per_day_30d,
  CAST(merged_prs_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS merged_prs_per_day_1h,
  CAST(merged_prs_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS merged_prs_per_day_24h,
  CAST(merged_prs_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS merged_prs_per_day_7d,
  CAST(merged_prs_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS merged_prs_per_day_30d,
  CAST(closed_prs_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS closed_prs_per_day_1h,
  CAST(closed_prs_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS closed_prs_per_day_24h,
  CAST(closed_prs_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS closed_prs_per_day_7d,
  CAST(closed_prs_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS closed_prs_per_day_30d,
  CAST(discussions_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS discussions_per_day_1h,
  CAST(discussions_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS discussions_per_day_24h,
  CAST(discussions_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS discussions_per_day_7d,
  CAST(discussions_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS discussions_per_day_30d,
  CAST(releases_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS releases_per_day_1h,
  CAST(releases_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS releases_per_day_24h,
  CAST(releases_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS releases_per_day_7d,
  CAST(releases_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS releases_per_day_30d,
  CAST(commits_total_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS commits_total_per_day_1h,
  CAST(commits_total_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS commits_total_per_day_24h,
  CAST(commits_total_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS commits_total_per_day_7d,
  CAST(commits_total_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS commits_total_per_day_30d,
  CAST(assignable_users_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS assignable_users_per_day_1h,
  CAST(assignable_users_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS assignable_users_per_day_24h,
  CAST(assignable_users_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS assignable_users_per_day_7d,
  CAST(assignable_users_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS assignable_users_per_day_30d
FROM clickhouse.pulse.github_metrics_timeseries
WHERE observed_at >= (SELECT CAST(at AS timestamp(3)) FROM iceberg.pulse.boundary)
UNION ALL
SELECT 'cold',
  repo_id, name_with_owner, owner, owner_type, company, primary_language, is_fork, is_archived,
  CAST(created_at AS timestamp(6)) AS created_at, CAST(pushed_at AS timestamp(6)) AS pushed_at, stars, forks, watchers, open_issues,
  closed_issues, open_prs, merged_prs, closed_prs, assignable_users, discussions, releases, latest_release,
  CAST(latest_release_at AS timestamp(6)) AS latest_release_at, commits_total, disk_kb,
  CAST(observed_at AS timestamp(6)) AS observed_at, sweep_id, source, CAST(processed_at AS timestamp(6)) AS processed_at, revision,
  late, CAST(base_at_1h AS timestamp(6)) AS base_at_1h, CAST(base_at_24h AS timestamp(6)) AS base_at_24h,
  CAST(base_at_7d AS timestamp(6)) AS base_at_7d, CAST(base_at_30d AS timestamp(6)) AS base_at_30d, stars_delta_1h, stars_delta_24h,
  stars_delta_7d, stars_delta_30d, forks_delta_1h, forks_delta_24h, forks_delta_7d, forks_delta_30d, watchers_delta_1h,
  watchers_delta_24h, watchers_delta_7d, watchers_delta_30d, open_issues_delta_1h, open_issues_delta_24h, open_issues_delta_7d,
  open_issues_delta_30d, closed_issues_delta_1h, closed_issues_delta_24h, closed_issues_delta_7d, closed_issues_delta_30d,
  open_prs_delta_1h, open_prs_delta_24h, open_prs_delta_7d, open_prs_delta_30d, merged_prs_delta_1h, merged_prs_delta_24h,
  merged_prs_delta_7d, merged_prs_delta_30d, closed_prs_delta_1h, closed_prs_delta_24h, closed_prs_delta_7d, closed_prs_delta_30d,
  discussions_delta_1h, discussions_delta_24h, discussions_delta_7d, discussions_delta_30d, releases_delta_1h, releases_delta_24h,
  releases_delta_7d, releases_delta_30d, commits_total_delta_1h, commits_total_delta_24h, commits_total_delta_7d,
  commits_total_delta_30d, assignable_users_delta_1h, assignable_users_delta_24h, assignable_users_delta_7d,
  assignable_users_delta_30d, stars_acceleration_24h, stars_acceleration_7d, stars_acceleration_30d, issues_opened_24h,
  issues_opened_7d, issues_opened_30d, issue_closure_ratio_24h, issue_closure_ratio_7d, issue_closure_ratio_30d, backlog_index_24h,
  backlog_index_7d, backlog_index_30d, prs_opened_24h, prs_opened_7d, prs_opened_30d, pr_acceptance_ratio_24h,
  pr_acceptance_ratio_7d, pr_acceptance_ratio_30d, active_days_7d, active_days_30d, observed_days_7d, observed_days_30d,
  commits_per_merged_pr_30d, commits_per_assignable_user_30d, releases_per_week_30d, days_since_release, days_since_push, burst_z,
  is_burst, breakout_z, is_breakout, is_suspicious, milestone, is_renamed, is_branch_changed, is_history_rewritten, health_activity,
  health_maintenance, health_closure, health_acceptance, health_release, health_score, health_parts,
  CAST(stars_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS stars_per_day_1h,
  CAST(stars_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS stars_per_day_24h,
  CAST(stars_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS stars_per_day_7d,
  CAST(stars_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS stars_per_day_30d,
  CAST(forks_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS forks_per_day_1h,
  CAST(forks_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS forks_per_day_24h,
  CAST(forks_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS forks_per_day_7d,
  CAST(forks_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS forks_per_day_30d,
  CAST(watchers_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS watchers_per_day_1h,
  CAST(watchers_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS watchers_per_day_24h,
  CAST(watchers_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS watchers_per_day_7d,
  CAST(watchers_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS watchers_per_day_30d,
  CAST(open_issues_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS open_issues_per_day_1h,
  CAST(open_issues_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS open_issues_per_day_24h,
  CAST(open_issues_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS open_issues_per_day_7d,
  CAST(open_issues_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS open_issues_per_day_30d,
  CAST(closed_issues_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS closed_issues_per_day_1h,
  CAST(closed_issues_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS closed_issues_per_day_24h,
  CAST(closed_issues_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS closed_issues_per_day_7d,
  CAST(closed_issues_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS closed_issues_per_day_30d,
  CAST(open_prs_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS open_prs_per_day_1h,
  CAST(open_prs_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS open_prs_per_day_24h,
  CAST(open_prs_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS open_prs_per_day_7d,
  CAST(open_prs_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS open_prs_per_day_30d,
  CAST(merged_prs_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS merged_prs_per_day_1h,
  CAST(merged_prs_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS merged_prs_per_day_24h,
  CAST(merged_prs_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS merged_prs_per_day_7d,
  CAST(merged_prs_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS merged_prs_per_day_30d,
  CAST(closed_prs_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS closed_prs_per_day_1h,
  CAST(closed_prs_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS closed_prs_per_day_24h,
  CAST(closed_prs_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS closed_prs_per_day_7d,
  CAST(closed_prs_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS closed_prs_per_day_30d,
  CAST(discussions_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS discussions_per_day_1h,
  CAST(discussions_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS discussions_per_day_24h,
  CAST(discussions_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS discussions_per_day_7d,
  CAST(discussions_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS discussions_per_day_30d,
  CAST(releases_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS releases_per_day_1h,
  CAST(releases_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS releases_per_day_24h,
  CAST(releases_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS releases_per_day_7d,
  CAST(releases_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS releases_per_day_30d,
  CAST(commits_total_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS commits_total_per_day_1h,
  CAST(commits_total_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS commits_total_per_day_24h,
  CAST(commits_total_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS commits_total_per_day_7d,
  CAST(commits_total_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS commits_total_per_day_30d,
  CAST(assignable_users_delta_1h AS double) / (date_diff('millisecond', base_at_1h, observed_at) / 86400000e0) AS assignable_users_per_day_1h,
  CAST(assignable_users_delta_24h AS double) / (date_diff('millisecond', base_at_24h, observed_at) / 86400000e0) AS assignable_users_per_day_24h,
  CAST(assignable_users_delta_7d AS double) / (date_diff('millisecond', base_at_7d, observed_at) / 86400000e0) AS assignable_users_per_day_7d,
  CAST(assignable_users_delta_30d AS double) / (date_diff('millisecond', base_at_30d, observed_at) / 86400000e0) AS assignable_users_per_day_30d
FROM iceberg.github.processed_repos
WHERE observed_at < (SELECT with_timezone(at, 'UTC') FROM iceberg.pulse.boundary)
) AS o
LEFT JOIN clickhouse.pulse.repositories AS r ON r.repo_id = o.repo_id;

-- Every event of a feed, once, in UTC: docs/events.md.
CREATE OR REPLACE VIEW iceberg.pulse.events AS
SELECT 'hot' AS store,
  event_type, event_id, CAST(created_at AS timestamp(6)) AS created_at, repo_id, name_with_owner, owner, actor_id, actor_login,
  actor_is_bot, action, subject_kind, number, author_id, author_login, author_is_bot,
  CAST(subject_created_at AS timestamp(6)) AS subject_created_at, CAST(subject_closed_at AS timestamp(6)) AS subject_closed_at,
  CAST(subject_merged_at AS timestamp(6)) AS subject_merged_at, review_state, ref, commits, release_tag, payload,
  CAST(observed_at AS timestamp(6)) AS observed_at, source
FROM clickhouse.pulse.github_events
WHERE created_at >= (SELECT CAST(at AS timestamp(3)) FROM iceberg.pulse.boundary)
UNION ALL
SELECT 'cold',
  event_type, event_id, CAST(created_at AS timestamp(6)) AS created_at, repo_id, name_with_owner, owner, actor_id, actor_login,
  actor_is_bot, action, subject_kind, number, author_id, author_login, author_is_bot,
  CAST(subject_created_at AS timestamp(6)) AS subject_created_at, CAST(subject_closed_at AS timestamp(6)) AS subject_closed_at,
  CAST(subject_merged_at AS timestamp(6)) AS subject_merged_at, review_state, ref, commits, release_tag, payload,
  CAST(observed_at AS timestamp(6)) AS observed_at, source
FROM iceberg.github.events
WHERE created_at < (SELECT with_timezone(at, 'UTC') FROM iceberg.pulse.boundary);

-- How many events GitHub's feeds have lost: ClickHouse's pulse.event_coverage, which
-- computes it.
CREATE OR REPLACE VIEW iceberg.pulse.event_coverage AS
SELECT repo_id, name_with_owner, owner, company, day, CAST(since AS timestamp(6)) AS since, CAST(until AS timestamp(6)) AS until,
  kind, events, change, is_known, has_gap, coverage, verdict
FROM clickhouse.pulse.event_coverage;

-- Where the stores differ, by day and topic; empty when they hold the same. The
-- checksums do not depend on order. Both sinks must have come to rest.
CREATE OR REPLACE VIEW iceberg.pulse.differences AS
WITH hot AS (
  SELECT date(observed_at) AS day, count(*) AS stored, count(DISTINCT ROW(repo_id, observed_at)) AS keys,
    checksum(ROW(
      repo_id, name_with_owner, owner, owner_type, company, primary_language, is_fork, is_archived, created_at, pushed_at, stars, forks,
      watchers, open_issues, closed_issues, open_prs, merged_prs, closed_prs, assignable_users, discussions, releases, latest_release,
      latest_release_at, commits_total, disk_kb, observed_at, sweep_id, source
    )) AS observed,
    checksum(ROW(
      repo_id, observed_at, revision, late, base_at_1h, base_at_24h, base_at_7d, base_at_30d, stars_delta_1h, stars_delta_24h,
      stars_delta_7d, stars_delta_30d, forks_delta_1h, forks_delta_24h, forks_delta_7d, forks_delta_30d, watchers_delta_1h,
      watchers_delta_24h, watchers_delta_7d, watchers_delta_30d, open_issues_delta_1h, open_issues_delta_24h, open_issues_delta_7d,
      open_issues_delta_30d, closed_issues_delta_1h, closed_issues_delta_24h, closed_issues_delta_7d, closed_issues_delta_30d,
      open_prs_delta_1h, open_prs_delta_24h, open_prs_delta_7d, open_prs_delta_30d, merged_prs_delta_1h, merged_prs_delta_24h,
      merged_prs_delta_7d, merged_prs_delta_30d, closed_prs_delta_1h, closed_prs_delta_24h, closed_prs_delta_7d, closed_prs_delta_30d,
      discussions_delta_1h, discussions_delta_24h, discussions_delta_7d, discussions_delta_30d, releases_delta_1h, releases_delta_24h,
      releases_delta_7d, releases_delta_30d, commits_total_delta_1h, commits_total_delta_24h, commits_total_delta_7d,
      commits_total_delta_30d, assignable_users_delta_1h, assignable_users_delta_24h, assignable_users_delta_7d,
      assignable_users_delta_30d, stars_acceleration_24h, stars_acceleration_7d, stars_acceleration_30d, issues_opened_24h,
      issues_opened_7d, issues_opened_30d, issue_closure_ratio_24h, issue_closure_ratio_7d, issue_closure_ratio_30d, backlog_index_24h,
      backlog_index_7d, backlog_index_30d, prs_opened_24h, prs_opened_7d, prs_opened_30d, pr_acceptance_ratio_24h,
      pr_acceptance_ratio_7d, pr_acceptance_ratio_30d, active_days_7d, active_days_30d, observed_days_7d, observed_days_30d,
      commits_per_merged_pr_30d, commits_per_assignable_user_30d, releases_per_week_30d, days_since_release, days_since_push, burst_z,
      is_burst, breakout_z, is_breakout, is_suspicious, milestone, is_renamed, is_branch_changed, is_history_rewritten, health_activity,
      health_maintenance, health_closure, health_acceptance, health_release, health_score, health_parts
    )) AS velocity
  FROM clickhouse.pulse.github_metrics_timeseries GROUP BY 1
),
processed AS (
  SELECT date(CAST(observed_at AS timestamp(3))) AS day, count(*) AS stored, count(DISTINCT ROW(repo_id, observed_at)) AS keys,
    checksum(ROW(
      repo_id, name_with_owner, owner, owner_type, company, primary_language, is_fork, is_archived, CAST(created_at AS timestamp(3)),
      CAST(pushed_at AS timestamp(3)), stars, forks, watchers, open_issues, closed_issues, open_prs, merged_prs, closed_prs,
      assignable_users, discussions, releases, latest_release, CAST(latest_release_at AS timestamp(3)), commits_total, disk_kb,
      CAST(observed_at AS timestamp(3)), sweep_id, source
    )) AS observed,
    checksum(ROW(
      repo_id, CAST(observed_at AS timestamp(3)), revision, late, CAST(base_at_1h AS timestamp(3)), CAST(base_at_24h AS timestamp(3)),
      CAST(base_at_7d AS timestamp(3)), CAST(base_at_30d AS timestamp(3)), stars_delta_1h, stars_delta_24h, stars_delta_7d,
      stars_delta_30d, forks_delta_1h, forks_delta_24h, forks_delta_7d, forks_delta_30d, watchers_delta_1h, watchers_delta_24h,
      watchers_delta_7d, watchers_delta_30d, open_issues_delta_1h, open_issues_delta_24h, open_issues_delta_7d, open_issues_delta_30d,
      closed_issues_delta_1h, closed_issues_delta_24h, closed_issues_delta_7d, closed_issues_delta_30d, open_prs_delta_1h,
      open_prs_delta_24h, open_prs_delta_7d, open_prs_delta_30d, merged_prs_delta_1h, merged_prs_delta_24h, merged_prs_delta_7d,
      merged_prs_delta_30d, closed_prs_delta_1h, closed_prs_delta_24h, closed_prs_delta_7d, closed_prs_delta_30d, discussions_delta_1h,
      discussions_delta_24h, discussions_delta_7d, discussions_delta_30d, releases_delta_1h, releases_delta_24h, releases_delta_7d,
      releases_delta_30d, commits_total_delta_1h, commits_total_delta_24h, commits_total_delta_7d, commits_total_delta_30d,
      assignable_users_delta_1h, assignable_users_delta_24h, assignable_users_delta_7d, assignable_users_delta_30d,
      stars_acceleration_24h, stars_acceleration_7d, stars_acceleration_30d, issues_opened_24h, issues_opened_7d, issues_opened_30d,
      issue_closure_ratio_24h, issue_closure_ratio_7d, issue_closure_ratio_30d, backlog_index_24h, backlog_index_7d, backlog_index_30d,
      prs_opened_24h, prs_opened_7d, prs_opened_30d, pr_acceptance_ratio_24h, pr_acceptance_ratio_7d, pr_acceptance_ratio_30d,
      active_days_7d, active_days_30d, observed_days_7d, observed_days_30d, commits_per_merged_pr_30d, commits_per_assignable_user_30d,
      releases_per_week_30d, days_since_release, days_since_push, burst_z, is_burst, breakout_z, is_breakout, is_suspicious, milestone,
      is_renamed, is_branch_changed, is_history_rewritten, health_activity, health_maintenance, health_closure, health_acceptance,
      health_release, health_score, health_parts
    )) AS velocity
  FROM iceberg.github.processed_repos GROUP BY 1
),
hot_events AS (
  SELECT date(created_at) AS day, count(*) AS stored, count(DISTINCT ROW(repo_id, event_type, event_id, created_at)) AS keys,
    checksum(ROW(
      event_type, event_id, created_at, repo_id, name_with_owner, owner, actor_id, actor_login, actor_is_bot, action, subject_kind,
      number, author_id, author_login, author_is_bot, subject_created_at, subject_closed_at, subject_merged_at, review_state, ref,
      commits, release_tag, payload, observed_at, source
    )) AS observed,
    CAST(NULL AS varbinary) AS velocity
  FROM clickhouse.pulse.github_events GROUP BY 1
),
cold_events AS (
  SELECT date(CAST(created_at AS timestamp(3))) AS day, count(*) AS stored, count(DISTINCT ROW(repo_id, event_type, event_id, created_at)) AS keys,
    checksum(ROW(
      event_type, event_id, CAST(created_at AS timestamp(3)), repo_id, name_with_owner, owner, actor_id, actor_login, actor_is_bot,
      action, subject_kind, number, author_id, author_login, author_is_bot, CAST(subject_created_at AS timestamp(3)),
      CAST(subject_closed_at AS timestamp(3)), CAST(subject_merged_at AS timestamp(3)), review_state, ref, commits, release_tag, payload,
      CAST(observed_at AS timestamp(3)), source
    )) AS observed,
    CAST(NULL AS varbinary) AS velocity
  FROM iceberg.github.events GROUP BY 1
),
raw AS (
  SELECT date(CAST(observed_at AS timestamp(3))) AS day, count(*) AS stored, count(DISTINCT ROW(repo_id, observed_at)) AS keys,
    checksum(ROW(
      repo_id, name_with_owner, owner, owner_type, company, primary_language, is_fork, is_archived, CAST(created_at AS timestamp(3)),
      CAST(pushed_at AS timestamp(3)), stars, forks, watchers, open_issues, closed_issues, open_prs, merged_prs, closed_prs,
      assignable_users, discussions, releases, latest_release, CAST(latest_release_at AS timestamp(3)), commits_total, disk_kb,
      CAST(observed_at AS timestamp(3)), sweep_id, source
    )) AS observed,
    CAST(NULL AS varbinary) AS velocity
  FROM iceberg.github.base_repos GROUP BY 1
),
sides AS (
  SELECT 'github.processed_repos' AS topic, 'hot' AS store, * FROM hot
  UNION ALL SELECT 'github.processed_repos', 'cold', * FROM processed
  UNION ALL SELECT 'github.base_repos', 'hot', day, stored, keys, observed, NULL FROM hot
  UNION ALL SELECT 'github.base_repos', 'cold', * FROM raw
  UNION ALL SELECT 'github.events', 'hot', * FROM hot_events
  UNION ALL SELECT 'github.events', 'cold', * FROM cold_events
)
SELECT topic, day, h.stored AS hot_rows, c.stored AS cold_rows, h.keys AS hot_keys, c.keys AS cold_keys,
  h.observed IS DISTINCT FROM c.observed AS counters_differ,
  h.velocity IS DISTINCT FROM c.velocity AS velocities_differ
FROM (SELECT * FROM sides WHERE store = 'hot') AS h
FULL JOIN (SELECT * FROM sides WHERE store = 'cold') AS c USING (topic, day)
WHERE h.stored IS DISTINCT FROM c.stored OR h.keys IS DISTINCT FROM c.keys
  OR h.observed IS DISTINCT FROM c.observed OR h.velocity IS DISTINCT FROM c.velocity;
