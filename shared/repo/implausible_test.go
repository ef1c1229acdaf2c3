package repo

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWhatAnObservationCanDoWithoutIsDroppedAndNamed(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	sound := func() Observation {
		o := Observation{
			ID: 1, NameWithOwner: "o/n", OwnerType: "User", Stars: 7, Forks: new(int64(1)), Description: new("d"),
			PushedAt: new(now), Languages: []Language{{"Go", 1}}, Topics: []string{"t"}, ObservedAt: now,
		}
		o.Normalize()
		return o
	}
	year := func(y int) *time.Time { return new(time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC)) }
	long := new(strings.Repeat("x", maxText+1))
	all := func(o *Observation, n *int64) {
		o.Forks, o.Watchers, o.OpenIssues, o.ClosedIssues, o.OpenPRs, o.MergedPRs, o.ClosedPRs = n, n, n, n, n, n, n
		o.Discussions, o.Releases, o.CommitsTotal, o.DiskKB = n, n, n, n
	}
	for name, c := range map[string]struct {
		spoil func(*Observation)
		want  []string
		valid bool // afterwards
	}{
		"nothing": {func(*Observation) {}, nil, true},
		"times": {func(o *Observation) {
			o.PushedAt, o.CreatedAt, o.UpdatedAt, o.LatestReleaseAt = year(1), year(1969), year(2999), year(0)
		}, []string{"created_at", "pushed_at", "updated_at", "latest_release_at"}, true},
		"counters": {func(o *Observation) { all(o, new(int64(-1))) }, []string{"forks", "watchers", "open_issues", "closed_issues", "open_prs", "merged_prs", "closed_prs", "discussions", "releases", "commits_total", "disk_kb"}, true},
		"texts": {func(o *Observation) {
			o.Description, o.License, o.PrimaryLanguage = long, new("\xff"), new(*long+"\xff")
		}, []string{"description", "primary_language", "license"}, true},
		"languages": {func(o *Observation) { o.Languages = []Language{{"Go", -1}, {"\xff", -1}} }, []string{"languages"}, true},
		"topics":    {func(o *Observation) { o.Topics = make([]string, maxListEntries+1) }, []string{"topics"}, true},
		"stars":     {func(o *Observation) { o.Stars = -1; o.PushedAt = year(1) }, []string{"pushed_at", "stars"}, false},
		"identity":  {func(o *Observation) { o.ID = 0 }, []string{"repo_id"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := sound()
			c.spoil(&o)
			if err := o.Validate(now); (err == nil) != (c.want == nil) {
				t.Errorf("before: %v", err)
			}
			if got := o.DropImplausible(now); !slices.Equal(got, c.want) {
				t.Errorf("dropped %q, want %q", got, c.want)
			}
			if err := o.Validate(now); (err == nil) != c.valid {
				t.Errorf("after: %v", err)
			}
			if o.NameWithOwner != "o/n" || o.Topics == nil || o.Languages == nil {
				t.Errorf("left: %+v", o)
			}
		})
	}
}
