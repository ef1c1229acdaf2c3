package assistant

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/functions/api/hot"
)

// What inputs are made of. Their schemas are in types.
type (
	name       string
	repository string
	compared   []string
	fields     []string
	window     string
	order      string
	grouping   string
	rows       int
	days       int
	span       int
	kind       string
	severity   string
	day        string
)

const (
	maxDays   = 90
	maxFields = 40
	maxGaps   = 3 // of an owner, the newest
)

type tools struct{ api API }

type topInput struct {
	Window   window `json:"window,omitempty" jsonschema:"the time over which stars are counted"`
	Order    order  `json:"order,omitempty" jsonschema:"rising: most stars gained a day first; falling: most lost a day first; stars: most stars first"`
	Company  name   `json:"company,omitempty" jsonschema:"only those of this company, in small letters: alphabet, amazon, apple, meta, microsoft, nvidia, tesla"`
	Owner    name   `json:"owner,omitempty" jsonschema:"only those of this organisation or person on GitHub"`
	Language name   `json:"language,omitempty" jsonschema:"only those whose primary language it is"`
	Name     name   `json:"name,omitempty" jsonschema:"only those whose owner/name has this in it, in any case; those out of date too"`
	Limit    rows   `json:"limit,omitempty" jsonschema:"how many"`
}

func (t tools) top(ctx context.Context, in topInput) (Answer, error) {
	w := string(in.Window)
	q := query("company", string(in.Company), "owner", string(in.Owner), "language", string(in.Language), "name", string(in.Name), "limit", fmt.Sprint(in.Limit),
		"sort", map[order]string{"rising": "-stars_per_day_" + w, "falling": "stars_per_day_" + w, "stars": "-stars"}[in.Order],
		"fields", strings.Join([]string{"name_with_owner", "company", "primary_language", "stars", "forks", "stars_delta_" + w, "stars_per_day_" + w, "is_breakout", "is_suspicious", "observed_at"}, ","))
	if in.Name == "" {
		q.Set("current", "true")
	}
	return t.show(ctx, "repositories", q)
}

type repositoryInput struct {
	Name   repository `json:"name" jsonschema:"owner/name, as facebook/react; a former name is followed"`
	Fields fields     `json:"fields,omitempty" jsonschema:"other fields than the usual ones: the tool definitions finds them"`
	Days   days       `json:"days,omitempty" jsonschema:"that many days of stars up to the newest reading of all; 0: none"`
}

// usual are the fields of a repository that are shown unless others are asked for.
func usual() fields {
	return fields{
		"name_with_owner", "company", "description", "primary_language", "license", "is_archived", "is_fork", "stars", "forks", "open_issues", "closed_issues", "open_prs", "merged_prs",
		"commits_total", "releases", "latest_release", "latest_release_at", "stars_delta_24h", "stars_delta_7d", "stars_delta_30d", "stars_per_day_24h", "stars_per_day_7d", "stars_per_day_30d",
		"is_breakout", "is_suspicious", "created_at", "pushed_at", "observed_at",
	}
}

func (t tools) repository(ctx context.Context, in repositoryInput) (Answer, error) {
	owner, short, _ := strings.Cut(string(in.Name), "/")
	got, err := t.api.get(ctx, "repositories/"+url.PathEscape(owner)+"/"+url.PathEscape(short), nil)
	if err != nil {
		return Answer{}, err
	}
	all, err := got.decoded()
	if err != nil {
		return Answer{}, err
	}
	known, ok := all.(map[string]any)
	if !ok {
		return Answer{}, errors.New("the API's answer is not a repository")
	}
	wanted := in.Fields
	if len(wanted) == 0 {
		wanted = usual()
	}
	shown := map[string]any{"is_current": known["is_current"], "label": known["label"]}
	for _, f := range wanted {
		value, defined := known[f]
		if !defined {
			return Answer{}, fmt.Errorf("fields: %s is not defined: the tool definitions finds fields by a word", plain(f, 100))
		}
		shown[f] = value
	}
	data := map[string]any{"repository": shown}
	got.Definitions = wanted
	if in.Days > 0 {
		called, _ := known["name_with_owner"].(string)
		drawn, err := t.api.get(ctx, "lines", query("kind", "repository", "names", called, "fields", "stars", "days", fmt.Sprint(max(2, in.Days))))
		if err != nil {
			return Answer{}, err
		}
		if data["stars_by_day"], err = drawn.decoded(); err != nil {
			return Answer{}, err
		}
	}
	return got.answer(data), nil
}

type compareInput struct {
	Repositories compared `json:"repositories" jsonschema:"two to ten, by owner/name or repo_id"`
	Days         span     `json:"days,omitempty" jsonschema:"of stars by day, up to the newest reading of all"`
}

func (t tools) compare(ctx context.Context, in compareInput) (Answer, error) {
	for _, r := range in.Repositories {
		if strings.Contains(r, ",") {
			return Answer{}, fmt.Errorf("repositories: %q: want one repository in each item", plain(r, 100))
		}
	}
	return t.show(ctx, "compare", query("repos", strings.Join(in.Repositories, ","), "days", fmt.Sprint(in.Days)))
}

type trendsInput struct {
	By     grouping `json:"by,omitempty" jsonschema:"what repositories are grouped by"`
	Window window   `json:"window,omitempty" jsonschema:"the time over which stars are counted"`
	Limit  rows     `json:"limit,omitempty" jsonschema:"how many, the fastest first"`
}

func (t tools) trends(ctx context.Context, in trendsInput) (Answer, error) {
	resource := map[grouping]string{"company": "companies", "owner": "owners", "language": "languages"}[in.By]
	a, err := t.show(ctx, resource, query("window", string(in.Window), "limit", fmt.Sprint(in.Limit+1))) // the resource has no pages
	if list, ok := a.Data.([]any); ok && len(list) > int(in.Limit) {
		a.Data, a.Truncated = list[:in.Limit], true
	}
	return a, err
}

type signalsInput struct {
	Repository repository `json:"repository,omitempty" jsonschema:"of this repository; one of repository, owner and company at most"`
	Owner      name       `json:"owner,omitempty" jsonschema:"of this organisation or person on GitHub"`
	Company    name       `json:"company,omitempty" jsonschema:"of this company, in small letters"`
	Kinds      []kind     `json:"kinds,omitempty" jsonschema:"only those of these kinds"`
	Severity   severity   `json:"severity,omitempty" jsonschema:"only those of this severity or a higher one"`
	From       day        `json:"from,omitempty" jsonschema:"the first UTC day, YYYY-MM-DD"`
	To         day        `json:"to,omitempty" jsonschema:"the last UTC day, YYYY-MM-DD"`
	Limit      rows       `json:"limit,omitempty" jsonschema:"the newest so many"`
}

func (t tools) signals(ctx context.Context, in signalsInput) (Answer, error) {
	kinds := make([]string, len(in.Kinds))
	for i, k := range in.Kinds {
		kinds[i] = string(k)
	}
	return t.show(ctx, "signals", query("repository", string(in.Repository), "owner", string(in.Owner), "company", string(in.Company), "kind", strings.Join(kinds, ","),
		"severity", string(in.Severity), "from", string(in.From), "to", string(in.To), "limit", fmt.Sprint(in.Limit)))
}

type completenessInput struct {
	Owner   name `json:"owner,omitempty" jsonschema:"of this organisation or person on GitHub"`
	Company name `json:"company,omitempty" jsonschema:"of the owners of this company, in small letters"`
	Limit   rows `json:"limit,omitempty" jsonschema:"how many owners: those whose last sweep was not complete first, then those with the most days without a reading"`
}

// missed says that the last sweep of an owner is recorded and did not see all of it.
func missed(f hot.Freshness) bool { return f.Status != nil && *f.Status != "complete" }

// completeness counts the owners and shows some.
func (t tools) completeness(ctx context.Context, in completenessInput) (Answer, error) {
	got, err := t.api.get(ctx, "freshness", nil)
	if err != nil {
		return Answer{}, err
	}
	var all []hot.Freshness
	if err := json.Unmarshal(got.Data, &all); err != nil {
		return Answer{}, fmt.Errorf("read the API's data: %w", err)
	}
	all = slices.DeleteFunc(all, func(f hot.Freshness) bool {
		return in.Owner != "" && !strings.EqualFold(f.Owner, string(in.Owner)) || in.Company != "" && (f.Company == nil || !strings.EqualFold(*f.Company, string(in.Company)))
	})
	if len(all) == 0 && (in.Owner != "" || in.Company != "") {
		return Answer{}, errors.New("no such owner is read: the tool trends lists companies and owners")
	}
	counts := map[string]any{}
	add := func(status string) { n, _ := counts[status].(int); counts[status] = n + 1 }
	got.AsOf, got.Complete = nil, nil // of those that are counted
	var newest time.Time
	for _, f := range all {
		add("owners")
		if f.Newest.After(newest) {
			newest = f.Newest
			got.AsOf = new(newest.UTC().Format(time.RFC3339Nano))
		}
		if f.Status == nil {
			add("last_sweep_not_recorded")
			continue
		}
		add("last_sweep_" + *f.Status)
	}
	switch {
	case slices.ContainsFunc(all, missed):
		got.Complete = new(false)
	case len(all) > 0 && counts["last_sweep_complete"] == len(all):
		got.Complete = new(true)
	}
	slices.SortStableFunc(all, func(a, b hot.Freshness) int {
		if missed(a) != missed(b) {
			return map[bool]int{true: -1, false: 1}[missed(a)]
		}
		return cmp.Compare(b.DaysExpected-b.DaysRead, a.DaysExpected-a.DaysRead)
	})
	more := len(all) > int(in.Limit)
	list := []any{}
	for _, f := range all[:min(len(all), int(in.Limit))] {
		newest := f.Gaps[max(0, len(f.Gaps)-maxGaps):]
		body, err := json.Marshal(struct {
			hot.Freshness
			Gaps   int       `json:"gaps"`
			Newest []hot.Gap `json:"newest_gaps"`
		}{f, len(f.Gaps), newest})
		if err != nil {
			return Answer{}, fmt.Errorf("write the answer: %w", err)
		}
		one, err := answered{Data: body}.decoded()
		if err != nil {
			return Answer{}, err
		}
		list = append(list, one)
	}
	a := got.answer(map[string]any{"counts": counts, "owners": list})
	a.Truncated = more
	return a, nil
}

type definitionsInput struct {
	Names  fields `json:"names,omitempty" jsonschema:"fields, as stars_per_day_7d"`
	Search name   `json:"search,omitempty" jsonschema:"instead of names, a word in a field's name or definition"`
	Limit  rows   `json:"limit,omitempty" jsonschema:"how many of those found"`
}

func (t tools) definitions(ctx context.Context, in definitionsInput) (Answer, error) {
	if (len(in.Names) == 0) == (in.Search == "") {
		return Answer{}, errors.New("want names or search, one of them")
	}
	got, err := t.api.get(ctx, "definitions", query("name", strings.Join(in.Names, ",")))
	if err != nil {
		return Answer{}, err
	}
	all, err := got.decoded()
	if err != nil {
		return Answer{}, err
	}
	list, _ := all.([]any)
	if in.Search == "" {
		return got.answer(list), nil
	}
	list = slices.DeleteFunc(list, func(d any) bool {
		definition, _ := d.(map[string]any)
		return !strings.Contains(strings.ToLower(fmt.Sprint(definition["name"], " ", definition["text"])), strings.ToLower(string(in.Search)))
	})
	a := got.answer(list[:min(len(list), int(in.Limit))])
	a.Truncated = len(list) > int(in.Limit)
	return a, nil
}

// show asks for a resource and answers with its data.
func (t tools) show(ctx context.Context, resource string, q url.Values) (Answer, error) {
	got, err := t.api.get(ctx, resource, q)
	if err != nil {
		return Answer{}, err
	}
	data, err := got.decoded()
	if err != nil {
		return Answer{}, err
	}
	return got.answer(data), nil
}

// query are the parameters that are not empty, of pairs of names and values.
func query(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}
