// Package repo holds what M7 Pulse observes of a repository: one Observation
// is one reading of all its counters at one moment.
package repo

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sigs.k8s.io/json"

	"github.com/m7pulse/m7pulse/shared/field"
)

// Observation is a reading of one repository's counters. A nil field means
// "not observed", never zero.
//
// Identity is ID, so a rename or a transfer keeps its history. Two readings of
// one repository differ in ObservedAt; (ID, ObservedAt) is the key by which
// every store tells a repeat.
type Observation struct {
	ID              int64      `avro:"repo_id" json:"repo_id"`
	NodeID          string     `avro:"node_id" json:"node_id"` // "" when the source has none
	NameWithOwner   string     `avro:"name_with_owner" json:"name_with_owner"`
	Owner           string     `avro:"owner" json:"owner"`
	OwnerType       string     `avro:"owner_type" json:"owner_type"` // Organization, User, or "" when unknown
	Company         *string    `avro:"company" json:"company"`
	Name            string     `avro:"name" json:"name"`
	Description     *string    `avro:"description" json:"description"`
	PrimaryLanguage *string    `avro:"primary_language" json:"primary_language"`
	Languages       []Language `avro:"languages" json:"languages"`
	Topics          []string   `avro:"topics" json:"topics"`
	License         *string    `avro:"license" json:"license"`
	DefaultBranch   *string    `avro:"default_branch" json:"default_branch"`
	IsFork          bool       `avro:"is_fork" json:"is_fork"`
	IsArchived      bool       `avro:"is_archived" json:"is_archived"`
	CreatedAt       *time.Time `avro:"created_at" json:"created_at"`
	PushedAt        *time.Time `avro:"pushed_at" json:"pushed_at"`
	UpdatedAt       *time.Time `avro:"updated_at" json:"updated_at"`
	Stars           int64      `avro:"stars" json:"stars"`
	Forks           *int64     `avro:"forks" json:"forks"`
	Watchers        *int64     `avro:"watchers" json:"watchers"`
	OpenIssues      *int64     `avro:"open_issues" json:"open_issues"`
	ClosedIssues    *int64     `avro:"closed_issues" json:"closed_issues"`
	OpenPRs         *int64     `avro:"open_prs" json:"open_prs"`
	MergedPRs       *int64     `avro:"merged_prs" json:"merged_prs"`
	ClosedPRs       *int64     `avro:"closed_prs" json:"closed_prs"`
	AssignableUsers *int64     `avro:"assignable_users" json:"assignable_users"`
	Discussions     *int64     `avro:"discussions" json:"discussions"`
	Releases        *int64     `avro:"releases" json:"releases"`
	LatestRelease   *string    `avro:"latest_release" json:"latest_release"`
	LatestReleaseAt *time.Time `avro:"latest_release_at" json:"latest_release_at"`
	CommitsTotal    *int64     `avro:"commits_total" json:"commits_total"`
	DiskKB          *int64     `avro:"disk_kb" json:"disk_kb"`
	ObservedAt      time.Time  `avro:"observed_at" json:"observed_at"` // UTC, millisecond precision
	SweepID         string     `avro:"sweep_id" json:"sweep_id"`
	Source          string     `avro:"source" json:"source"` // graphql, replay, …
}

// Simulated is the Source of observations of repositories that never were: whatever
// shows them says so.
const Simulated = "simulated"

// Language is one language of a repository and its size in bytes.
type Language struct {
	Name  string `avro:"name" json:"name"`
	Bytes int64  `avro:"bytes" json:"bytes"`
}

// Limits of a plausible observation, in bytes where they bound a text. GitHub's
// own limits lie below them.
const (
	maxCount       = 1_000_000_000_000
	maxText        = 16 << 10
	maxListEntries = 1_000
	clockSkew      = 24 * time.Hour
	// What numbers take in Avro: each ten bytes at most.
	numbers     = 1 << 10
	lengthBytes = 10
	// Every store holds times of these years exactly.
	firstYear, lastYear = 1970, 2200
)

// MaxBytes bounds a valid observation in Avro: all of its texts and lists, and
// room for its numbers.
const MaxBytes = 900_000

// githubBegan is the month before GitHub's first repository.
func githubBegan() time.Time { return time.Date(2007, 9, 1, 0, 0, 0, 0, time.UTC) }

// RecordedID gives recorded data without a repository id one of its own:
// -(FNV-1a-64(lower(name_with_owner)) >> 1). It is negative, so it can never
// meet a real one.
func RecordedID(nameWithOwner string) int64 {
	h := fnv.New64a()
	h.Write([]byte(strings.ToLower(nameWithOwner)))
	return -int64(h.Sum64() >> 1)
}

// Key is the identity of an observation wherever one can be repeated.
type Key struct {
	ID         int64
	ObservedAt int64 // ms since 1970, UTC
}

// Key returns the observation's identity.
func (o *Observation) Key() Key { return Key{o.ID, o.ObservedAt.UnixMilli()} }

// Normalize brings an observation to the one form that is stored: times in UTC
// at millisecond precision, owner and name filled from name_with_owner.
func (o *Observation) Normalize() {
	o.ObservedAt = o.ObservedAt.UTC().Truncate(time.Millisecond)
	for _, t := range [...]**time.Time{&o.CreatedAt, &o.PushedAt, &o.UpdatedAt, &o.LatestReleaseAt} {
		if *t == nil {
			continue
		}
		if normal := (*t).UTC().Truncate(time.Millisecond); normal != **t { // seldom: what was normal stays where it is
			other := normal
			*t = &other
		}
	}
	if owner, name, ok := strings.Cut(o.NameWithOwner, "/"); ok {
		if o.Owner == "" {
			o.Owner = owner
		}
		if o.Name == "" {
			o.Name = name
		}
	}
	if o.Languages == nil {
		o.Languages = []Language{}
	}
	if o.Topics == nil {
		o.Topics = []string{}
	}
}

// Validate says all that is wrong with an observation, at the time now.
func (o *Observation) Validate(now time.Time) error {
	var errs []error
	for _, f := range o.faults(now) {
		errs = append(errs, f.err)
	}
	return errors.Join(errs...)
}

// DropImplausible sets each field that an observation can do without, and whose
// value Validate would refuse, to null, or to an empty list. It returns the names
// of all fields that Validate would have refused, each once; if the observation
// cannot do without one of them, it stays invalid.
func (o *Observation) DropImplausible(now time.Time) (fields []string) {
	for again := true; again; { // one fault can hide another
		again = false
		for _, f := range o.faults(now) {
			if f.drop != nil {
				f.drop()
				again = true
			}
			if !slices.Contains(fields, f.field) {
				fields = append(fields, f.field)
			}
		}
	}
	return fields
}

// fault is what is wrong with one field.
type fault struct {
	field string
	err   error
	drop  func() // nil for a field that an observation cannot do without
}

func (o *Observation) faults(now time.Time) (faults []fault) {
	bad := func(field string, drop func(), format string, args ...any) {
		faults = append(faults, fault{field, fmt.Errorf(format, args...), drop})
	}
	if o.ID == 0 {
		bad("repo_id", nil, "repo_id is missing: an observation without identity")
	}
	owner, rest, ok := strings.Cut(o.NameWithOwner, "/")
	switch {
	case !ok || owner == "" || rest == "" || strings.Contains(rest, "/"):
		bad("name_with_owner", nil, "name_with_owner %.300q is not owner/name", o.NameWithOwner)
	case o.Owner != owner || o.Name != rest:
		bad("name_with_owner", nil, "owner %.300q and name %.300q do not fit name_with_owner %.300q", o.Owner, o.Name, o.NameWithOwner)
	case strings.ContainsFunc(o.NameWithOwner, unicode.IsControl): // CloudEvents has none in a subject
		bad("name_with_owner", nil, "name_with_owner %.300q holds control characters", o.NameWithOwner)
	}
	switch o.OwnerType {
	case "", "Organization", "User":
	default:
		bad("owner_type", nil, "owner_type %.20q is neither Organization nor User", o.OwnerType)
	}
	if o.ObservedAt.Before(githubBegan()) || o.ObservedAt.After(now.Add(clockSkew)) {
		bad("observed_at", nil, "observed_at %s is not between %s and now", o.ObservedAt.Format(time.RFC3339), githubBegan().Format(time.DateOnly))
	}
	for _, t := range [...]struct {
		field string
		at    **time.Time
	}{{"created_at", &o.CreatedAt}, {"pushed_at", &o.PushedAt}, {"updated_at", &o.UpdatedAt}, {"latest_release_at", &o.LatestReleaseAt}} {
		if at := *t.at; at != nil && (at.Year() < firstYear || at.Year() > lastYear) {
			bad(t.field, func() { *t.at = nil }, "%s %s is not between the years %d and %d", t.field, at.Format(time.RFC3339), firstYear, lastYear)
		}
	}
	if o.Stars < 0 || o.Stars > maxCount { // which an observation cannot do without
		bad("stars", nil, "stars %d is not between 0 and %d", o.Stars, int64(maxCount))
	}
	for _, c := range counters() {
		if at := c.at(o); *at != nil && (**at < 0 || **at > maxCount) {
			bad(c.name, func() { *at = nil }, "%s %d is not between 0 and %d", c.name, **at, int64(maxCount))
		}
	}
	size := numbers
	for _, t := range [...]struct {
		field string
		text  *string
		drop  **string // nil for a field that an observation cannot do without
	}{{"name_with_owner", &o.NameWithOwner, nil}, {"owner", &o.Owner, nil}, {"name", &o.Name, nil},
		{"description", o.Description, &o.Description}, {"company", o.Company, &o.Company},
		{"primary_language", o.PrimaryLanguage, &o.PrimaryLanguage}, {"license", o.License, &o.License}, {"default_branch", o.DefaultBranch, &o.DefaultBranch},
		{"latest_release", o.LatestRelease, &o.LatestRelease}, {"node_id", &o.NodeID, nil}, {"sweep_id", &o.SweepID, nil}, {"source", &o.Source, nil}} {
		if t.text == nil {
			continue
		}
		size += len(*t.text) + lengthBytes
		if len(*t.text) > maxText {
			bad(t.field, dropText(t.drop), "%s has %d bytes, more than %d", t.field, len(*t.text), maxText)
		}
		if !utf8.ValidString(*t.text) { // a reader of Parquet may refuse the whole file
			bad(t.field, dropText(t.drop), "%s is not UTF-8", t.field)
		}
	}
	if len(o.Languages) > maxListEntries {
		bad("languages", o.dropLanguages, "more than %d languages", maxListEntries)
	}
	if len(o.Topics) > maxListEntries {
		bad("topics", o.dropTopics, "more than %d topics", maxListEntries)
	}
	if len(o.Languages) > maxListEntries || len(o.Topics) > maxListEntries {
		return faults
	}
	for _, l := range o.Languages {
		size += len(l.Name) + 2*lengthBytes
		if l.Bytes < 0 {
			bad("languages", o.dropLanguages, "language %.20q has %d bytes", l.Name, l.Bytes)
		}
		if len(l.Name) > maxText {
			bad("languages", o.dropLanguages, "language %.20q has a name of %d bytes, more than %d", l.Name, len(l.Name), maxText)
		}
		if !utf8.ValidString(l.Name) {
			bad("languages", o.dropLanguages, "language %.20q is not UTF-8", l.Name)
		}
	}
	for _, t := range o.Topics {
		size += len(t) + lengthBytes
		if len(t) > maxText {
			bad("topics", o.dropTopics, "topic %.20q has %d bytes, more than %d", t, len(t), maxText)
		}
		if !utf8.ValidString(t) {
			bad("topics", o.dropTopics, "topic %.20q is not UTF-8", t)
		}
	}
	if size > MaxBytes { // it is the lists: the other texts are far from that
		bad("languages", o.dropLanguages, "texts and lists have %d bytes, more than %d", size, MaxBytes)
		bad("topics", o.dropTopics, "texts and lists have %d bytes, more than %d", size, MaxBytes)
	}
	return faults
}

func (o *Observation) dropLanguages() { o.Languages = []Language{} }
func (o *Observation) dropTopics()    { o.Topics = []string{} }

func dropText(text **string) func() {
	if text == nil {
		return nil
	}
	return func() { *text = nil }
}

// UnmarshalJSON reads the JSON form. A field that Avro requires must be
// present, or a forgotten counter would be stored as zero; an unknown field is
// refused, or a misspelt one would vanish. Nothing stays of what o held before.
func (o *Observation) UnmarshalJSON(b []byte) error {
	*o = Observation{}
	type plain Observation
	return Strict(b, (*plain)(o), "repo_id", "name_with_owner", "stars", "observed_at")
}

// Strict decodes one JSON object into v. Names must be those of v's fields, in
// their case, each once; those of required must be there and not null. The error
// names the member that is at fault.
func Strict(b []byte, v any, required ...string) error {
	strict, err := json.UnmarshalStrict(b, v)
	var members map[string]stdjson.RawMessage
	if e := stdjson.Unmarshal(b, &members); e != nil {
		return e
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if err == nil {
			break
		}
		one, e := stdjson.Marshal(map[string]stdjson.RawMessage{name: members[name]})
		if e != nil {
			return e
		}
		if _, e = json.UnmarshalStrict(one, v); e != nil {
			err = fmt.Errorf("%s: %w", name, e)
			break
		}
	}
	if err := errors.Join(append(strict, err)...); err != nil {
		return err
	}
	var missing []string
	for _, name := range required {
		if v, ok := members[name]; !ok || string(v) == "null" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("required fields are missing: %s", strings.Join(missing, ", "))
	}
	return nil
}

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
