package velocity

import "time"

// Velocities are the deltas of one observation over every window. A nil field
// means that there was no base to compare with, or that the counter was not
// observed at one of the two ends; it never stands for zero.
type Velocities struct {
	BaseAt1h  *time.Time `avro:"base_at_1h" json:"base_at_1h"`
	BaseAt24h *time.Time `avro:"base_at_24h" json:"base_at_24h"`
	BaseAt7d  *time.Time `avro:"base_at_7d" json:"base_at_7d"`
	BaseAt30d *time.Time `avro:"base_at_30d" json:"base_at_30d"`

	StarsDelta1h   *int64   `avro:"stars_delta_1h" json:"stars_delta_1h"`
	StarsDelta24h  *int64   `avro:"stars_delta_24h" json:"stars_delta_24h"`
	StarsDelta7d   *int64   `avro:"stars_delta_7d" json:"stars_delta_7d"`
	StarsDelta30d  *int64   `avro:"stars_delta_30d" json:"stars_delta_30d"`
	StarsPerDay1h  *float64 `avro:"stars_per_day_1h" json:"stars_per_day_1h"`
	StarsPerDay24h *float64 `avro:"stars_per_day_24h" json:"stars_per_day_24h"`
	StarsPerDay7d  *float64 `avro:"stars_per_day_7d" json:"stars_per_day_7d"`
	StarsPerDay30d *float64 `avro:"stars_per_day_30d" json:"stars_per_day_30d"`

	ForksDelta1h   *int64   `avro:"forks_delta_1h" json:"forks_delta_1h"`
	ForksDelta24h  *int64   `avro:"forks_delta_24h" json:"forks_delta_24h"`
	ForksDelta7d   *int64   `avro:"forks_delta_7d" json:"forks_delta_7d"`
	ForksDelta30d  *int64   `avro:"forks_delta_30d" json:"forks_delta_30d"`
	ForksPerDay1h  *float64 `avro:"forks_per_day_1h" json:"forks_per_day_1h"`
	ForksPerDay24h *float64 `avro:"forks_per_day_24h" json:"forks_per_day_24h"`
	ForksPerDay7d  *float64 `avro:"forks_per_day_7d" json:"forks_per_day_7d"`
	ForksPerDay30d *float64 `avro:"forks_per_day_30d" json:"forks_per_day_30d"`

	OpenIssuesDelta1h   *int64   `avro:"open_issues_delta_1h" json:"open_issues_delta_1h"`
	OpenIssuesDelta24h  *int64   `avro:"open_issues_delta_24h" json:"open_issues_delta_24h"`
	OpenIssuesDelta7d   *int64   `avro:"open_issues_delta_7d" json:"open_issues_delta_7d"`
	OpenIssuesDelta30d  *int64   `avro:"open_issues_delta_30d" json:"open_issues_delta_30d"`
	OpenIssuesPerDay1h  *float64 `avro:"open_issues_per_day_1h" json:"open_issues_per_day_1h"`
	OpenIssuesPerDay24h *float64 `avro:"open_issues_per_day_24h" json:"open_issues_per_day_24h"`
	OpenIssuesPerDay7d  *float64 `avro:"open_issues_per_day_7d" json:"open_issues_per_day_7d"`
	OpenIssuesPerDay30d *float64 `avro:"open_issues_per_day_30d" json:"open_issues_per_day_30d"`

	MergedPRsDelta1h   *int64   `avro:"merged_prs_delta_1h" json:"merged_prs_delta_1h"`
	MergedPRsDelta24h  *int64   `avro:"merged_prs_delta_24h" json:"merged_prs_delta_24h"`
	MergedPRsDelta7d   *int64   `avro:"merged_prs_delta_7d" json:"merged_prs_delta_7d"`
	MergedPRsDelta30d  *int64   `avro:"merged_prs_delta_30d" json:"merged_prs_delta_30d"`
	MergedPRsPerDay1h  *float64 `avro:"merged_prs_per_day_1h" json:"merged_prs_per_day_1h"`
	MergedPRsPerDay24h *float64 `avro:"merged_prs_per_day_24h" json:"merged_prs_per_day_24h"`
	MergedPRsPerDay7d  *float64 `avro:"merged_prs_per_day_7d" json:"merged_prs_per_day_7d"`
	MergedPRsPerDay30d *float64 `avro:"merged_prs_per_day_30d" json:"merged_prs_per_day_30d"`

	ClosedIssuesDelta1h   *int64   `avro:"closed_issues_delta_1h" json:"closed_issues_delta_1h"`
	ClosedIssuesDelta24h  *int64   `avro:"closed_issues_delta_24h" json:"closed_issues_delta_24h"`
	ClosedIssuesDelta7d   *int64   `avro:"closed_issues_delta_7d" json:"closed_issues_delta_7d"`
	ClosedIssuesDelta30d  *int64   `avro:"closed_issues_delta_30d" json:"closed_issues_delta_30d"`
	ClosedIssuesPerDay1h  *float64 `avro:"closed_issues_per_day_1h" json:"closed_issues_per_day_1h"`
	ClosedIssuesPerDay24h *float64 `avro:"closed_issues_per_day_24h" json:"closed_issues_per_day_24h"`
	ClosedIssuesPerDay7d  *float64 `avro:"closed_issues_per_day_7d" json:"closed_issues_per_day_7d"`
	ClosedIssuesPerDay30d *float64 `avro:"closed_issues_per_day_30d" json:"closed_issues_per_day_30d"`

	CommitsTotalDelta1h   *int64   `avro:"commits_total_delta_1h" json:"commits_total_delta_1h"`
	CommitsTotalDelta24h  *int64   `avro:"commits_total_delta_24h" json:"commits_total_delta_24h"`
	CommitsTotalDelta7d   *int64   `avro:"commits_total_delta_7d" json:"commits_total_delta_7d"`
	CommitsTotalDelta30d  *int64   `avro:"commits_total_delta_30d" json:"commits_total_delta_30d"`
	CommitsTotalPerDay1h  *float64 `avro:"commits_total_per_day_1h" json:"commits_total_per_day_1h"`
	CommitsTotalPerDay24h *float64 `avro:"commits_total_per_day_24h" json:"commits_total_per_day_24h"`
	CommitsTotalPerDay7d  *float64 `avro:"commits_total_per_day_7d" json:"commits_total_per_day_7d"`
	CommitsTotalPerDay30d *float64 `avro:"commits_total_per_day_30d" json:"commits_total_per_day_30d"`
}

// BasesAt lists the times of the bases, one per window.
func (v *Velocities) BasesAt() [windows]**time.Time {
	return [windows]**time.Time{&v.BaseAt1h, &v.BaseAt24h, &v.BaseAt7d, &v.BaseAt30d}
}

// Deltas lists the net changes by metric and window.
func (v *Velocities) Deltas() [metrics][windows]**int64 {
	return [metrics][windows]**int64{
		{&v.StarsDelta1h, &v.StarsDelta24h, &v.StarsDelta7d, &v.StarsDelta30d},
		{&v.ForksDelta1h, &v.ForksDelta24h, &v.ForksDelta7d, &v.ForksDelta30d},
		{&v.OpenIssuesDelta1h, &v.OpenIssuesDelta24h, &v.OpenIssuesDelta7d, &v.OpenIssuesDelta30d},
		{&v.MergedPRsDelta1h, &v.MergedPRsDelta24h, &v.MergedPRsDelta7d, &v.MergedPRsDelta30d},
		{&v.ClosedIssuesDelta1h, &v.ClosedIssuesDelta24h, &v.ClosedIssuesDelta7d, &v.ClosedIssuesDelta30d},
		{&v.CommitsTotalDelta1h, &v.CommitsTotalDelta24h, &v.CommitsTotalDelta7d, &v.CommitsTotalDelta30d},
	}
}

// PerDay lists the rates, in units per day, by metric and window.
func (v *Velocities) PerDay() [metrics][windows]**float64 {
	return [metrics][windows]**float64{
		{&v.StarsPerDay1h, &v.StarsPerDay24h, &v.StarsPerDay7d, &v.StarsPerDay30d},
		{&v.ForksPerDay1h, &v.ForksPerDay24h, &v.ForksPerDay7d, &v.ForksPerDay30d},
		{&v.OpenIssuesPerDay1h, &v.OpenIssuesPerDay24h, &v.OpenIssuesPerDay7d, &v.OpenIssuesPerDay30d},
		{&v.MergedPRsPerDay1h, &v.MergedPRsPerDay24h, &v.MergedPRsPerDay7d, &v.MergedPRsPerDay30d},
		{&v.ClosedIssuesPerDay1h, &v.ClosedIssuesPerDay24h, &v.ClosedIssuesPerDay7d, &v.ClosedIssuesPerDay30d},
		{&v.CommitsTotalPerDay1h, &v.CommitsTotalPerDay24h, &v.CommitsTotalPerDay7d, &v.CommitsTotalPerDay30d},
	}
}
