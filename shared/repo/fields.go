package repo

import (
	"time"

	"github.com/m7pulse/m7pulse/shared/field"
)

// Fields lists the fields of an observation, in the order of the schema. Each
// has its one definition here.
func Fields() []field.Field[Observation] {
	type o = Observation
	fields := []field.Field[o]{
		field.Always("repo_id", "id", "GitHub's database id; negative for recorded data without one", func(r *o) *int64 { return &r.ID }),
		detail(field.Always("node_id", "id", `GraphQL node id; "" when the source has none`, func(r *o) *string { return &r.NodeID })),
		field.Always("name_with_owner", "text", "owner/name as it was at the reading.", func(r *o) *string { return &r.NameWithOwner }),
		field.Always("owner", "text", "Organisation or person on GitHub.", func(r *o) *string { return &r.Owner }),
		field.Always("owner_type", "text", `Organization, User, or "" when unknown`, func(r *o) *string { return &r.OwnerType }),
		field.Maybe("company", "text", "the parent company, when known", func(r *o) **string { return &r.Company }),
		detail(field.Always("name", "text", "The name without its owner.", func(r *o) *string { return &r.Name })),
		detail(field.Maybe("description", "text", "As on GitHub.", func(r *o) **string { return &r.Description })),
		field.Maybe("primary_language", "text", "Primary language by GitHub.", func(r *o) **string { return &r.PrimaryLanguage }),
		detail(field.Always("languages", "bytes", "Each language by GitHub, and how many bytes are written in it.", func(r *o) *[]Language { return &r.Languages })),
		detail(field.Always("topics", "text", "The topics that its owner has given it.", func(r *o) *[]string { return &r.Topics })),
		detail(field.Maybe("license", "text", "SPDX id of the licence that GitHub found.", func(r *o) **string { return &r.License })),
		detail(field.Maybe("default_branch", "text", "Name of the default branch.", func(r *o) **string { return &r.DefaultBranch })),
		field.Always("is_fork", "flag", "Is a fork of another repository.", func(r *o) *bool { return &r.IsFork }),
		field.Always("is_archived", "flag", "Is read-only on GitHub.", func(r *o) *bool { return &r.IsArchived }),
		field.Maybe("created_at", "time", "When the repository was made, UTC.", func(r *o) **time.Time { return &r.CreatedAt }),
		field.Maybe("pushed_at", "time", "Last push, UTC.", func(r *o) **time.Time { return &r.PushedAt }),
		detail(field.Maybe("updated_at", "time", "Last change of what GitHub shows of it, UTC.", func(r *o) **time.Time { return &r.UpdatedAt })),
		field.Always("stars", "count", "Stars at the reading.", func(r *o) *int64 { return &r.Stars }),
	}
	for _, c := range counters() {
		if c.name == "commits_total" { // before which the schema has the release
			fields = append(fields,
				field.Maybe("latest_release", "text", "Tag of the latest release.", func(r *o) **string { return &r.LatestRelease }),
				field.Maybe("latest_release_at", "time", "When the latest release was published, UTC.", func(r *o) **time.Time { return &r.LatestReleaseAt }),
			)
		}
		fields = append(fields, field.Maybe(c.name, c.unit, c.text, c.at))
	}
	return append(fields,
		field.Always("observed_at", "time", "When GitHub was read, UTC.", func(r *o) *time.Time { return &r.ObservedAt }),
		field.Always("sweep_id", "id", "The sweep that read it; the ledger has its line.", func(r *o) *string { return &r.SweepID }),
		field.Always("source", "text", "graphql, replay, ...", func(r *o) *string { return &r.Source }),
	)
}

func detail(f field.Field[Observation]) field.Field[Observation] {
	f.Detail = true
	return f
}

// counter is a counter that an observation can do without.
type counter struct {
	name, unit, text string
	at               func(*Observation) **int64
}

// counters lists them, in the order of the schema: all but the stars. They are
// apart from the other fields because every observation is checked by them.
func counters() [12]counter {
	type o = Observation
	return [...]counter{
		{"forks", "count", "Forks at the reading.", func(r *o) **int64 { return &r.Forks }},
		{"watchers", "count", "Watchers at the reading.", func(r *o) **int64 { return &r.Watchers }},
		{"open_issues", "count", "Open issues at the reading; recorded data counts open pull requests in.", func(r *o) **int64 { return &r.OpenIssues }},
		{"closed_issues", "count", "Closed issues at the reading.", func(r *o) **int64 { return &r.ClosedIssues }},
		{"open_prs", "count", "Open pull requests at the reading.", func(r *o) **int64 { return &r.OpenPRs }},
		{"merged_prs", "count", "Merged pull requests at the reading.", func(r *o) **int64 { return &r.MergedPRs }},
		{"closed_prs", "count", "Pull requests closed without a merge, at the reading.", func(r *o) **int64 { return &r.ClosedPRs }},
		{"assignable_users", "count", "People who can be given an issue or a pull request, at the reading: those with access to the repository.", func(r *o) **int64 { return &r.AssignableUsers }},
		{"discussions", "count", "Discussions at the reading.", func(r *o) **int64 { return &r.Discussions }},
		{"releases", "count", "Releases at the reading.", func(r *o) **int64 { return &r.Releases }},
		{"commits_total", "count", "commits on the default branch", func(r *o) **int64 { return &r.CommitsTotal }},
		{"disk_kb", "KB", "Size on GitHub's disks.", func(r *o) **int64 { return &r.DiskKB }},
	}
}
