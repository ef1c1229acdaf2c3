package backfill

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Hour is a file of GH Archive.
type Hour struct {
	Name   string // 2026-06-01T15, or the name of a file that does not say its hour
	Source string // a path or a URL
}

func (h Hour) remote() bool {
	return strings.HasPrefix(h.Source, "http://") || strings.HasPrefix(h.Source, "https://")
}

const hourForm = "2006-01-02T15"

// archived is how GH Archive names its files: the hour has no leading zero.
var archived = regexp.MustCompile(`(\d{4}-\d{2}-\d{2})-(\d{1,2})\.json\.gz$`)

// maxHours bounds a backfill: 15 years.
const maxHours = 15 * 366 * 24

// Hours lists the hours from a time up to but not including another, in order, at the
// places that a template says: a URL or a path with {date} and {hour}, such as
// https://data.gharchive.org/{date}-{hour}.json.gz.
func Hours(template string, from, until time.Time) ([]Hour, error) {
	if !strings.Contains(template, "{date}") || !strings.Contains(template, "{hour}") {
		return nil, fmt.Errorf("%s: want {date} and {hour} in it, as in https://data.gharchive.org/{date}-{hour}.json.gz", template)
	}
	if from.IsZero() || until.IsZero() {
		return nil, errors.New("a template needs the first hour and the hour behind the last")
	}
	from = from.UTC().Truncate(time.Hour)
	if !from.Before(until) || until.Sub(from) > maxHours*time.Hour {
		return nil, fmt.Errorf("from %s until %s: want 1 to %d hours", from.Format(hourForm), until.Format(hourForm), maxHours)
	}
	var out []Hour
	for at := from; at.Before(until); at = at.Add(time.Hour) {
		out = append(out, Hour{at.Format(hourForm), strings.NewReplacer("{date}", at.Format(time.DateOnly), "{hour}", strconv.Itoa(at.Hour())).Replace(template)})
	}
	return out, nil
}

// Files are the hours of files, in order, by their names as GH Archive gives them.
// Where there is a first hour and one behind the last, only those between are taken,
// and an hour without a file is listed too, so that it is recorded as missing.
func Files(paths []string, from, until time.Time) ([]Hour, error) {
	bounded := !from.IsZero() && !until.IsZero()
	var out []Hour
	have := map[string]bool{}
	for _, path := range paths {
		m := archived.FindStringSubmatch(filepath.Base(path))
		if m == nil {
			if !from.IsZero() || !until.IsZero() {
				return nil, fmt.Errorf("%s does not say its hour, as 2026-06-01-15.json.gz does: read it without limits of time", path)
			}
			out = append(out, Hour{filepath.Base(path), path})
			continue
		}
		day, err := time.Parse(time.DateOnly, m[1])
		hour, err2 := strconv.Atoi(m[2])
		if err := errors.Join(err, err2); err != nil || hour > 23 {
			return nil, fmt.Errorf("%s: invalid hour", path)
		}
		at := day.Add(time.Duration(hour) * time.Hour)
		if !from.IsZero() && at.Before(from.UTC().Truncate(time.Hour)) || !until.IsZero() && !at.Before(until) {
			continue
		}
		have[at.Format(hourForm)] = true
		out = append(out, Hour{at.Format(hourForm), path})
	}
	if bounded {
		dir := "."
		if len(paths) > 0 {
			dir = filepath.Dir(paths[0])
		}
		all, err := Hours(filepath.Join(dir, "{date}-{hour}.json.gz"), from, until)
		if err != nil {
			return nil, err
		}
		for _, h := range all {
			if !have[h.Name] {
				out = append(out, h)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Hour) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
