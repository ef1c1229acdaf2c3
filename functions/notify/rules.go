package notify

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/m7pulse/m7pulse/functions/notify/target"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/signal"
)

// Bounds of the rules.
const (
	maxRulesBytes = 64 << 10
	maxTargets    = 20
	maxRules      = 100
)

// Rules say which signals are sent where, as signals.yaml has them.
type Rules struct {
	Targets map[string]Target `yaml:"targets"`
	Rules   []Rule            `yaml:"rules"`
}

// Target is one of those that signals are sent to, and when it may be disturbed.
type Target struct {
	target.Config `yaml:",inline"`
	Quiet         *Quiet  `yaml:"quiet"`
	Digest        *Digest `yaml:"digest"` // nil: each signal as it comes
}

// Quiet are hours in which a target is sent nothing: what comes is sent when they end.
type Quiet struct {
	From   string `yaml:"from"`   // 22:00
	To     string `yaml:"to"`     // 07:00, which may be of the next day
	Zone   string `yaml:"zone"`   // Europe/Berlin; "" for UTC
	Except string `yaml:"except"` // signals of this severity or above are sent nevertheless; "" for none

	from, to int // minutes of the day
	zone     *time.Location
}

// Digest says that a target is sent one message a day, or a week, of all its signals.
type Digest struct {
	Every string `yaml:"every"` // day or week: Monday
	At    string `yaml:"at"`    // 08:00
	Zone  string `yaml:"zone"`  // "" for UTC

	at   int
	zone *time.Location
}

// Rule sends signals to targets. All that it names must apply; what it leaves out does
// not matter.
type Rule struct {
	To        []string           `yaml:"to"`
	Kinds     []string           `yaml:"kinds"`
	Owners    []string           `yaml:"owners"`
	Companies []string           `yaml:"companies"`
	Severity  string             `yaml:"severity"` // the least
	Least     map[string]float64 `yaml:"least"`    // by kind: the least |value|
}

// ReadRules reads rules from a text, or else from a file; without either there are none.
// An error says all that is wrong with them, and shows no address.
func ReadRules(text, file string) (*Rules, error) {
	if text == "" && file != "" {
		f, err := os.Open(file)
		if errors.Is(err, os.ErrNotExist) {
			return &Rules{}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the rules: %w", err)
		}
		defer f.Close()
		read, err := io.ReadAll(io.LimitReader(f, maxRulesBytes+1))
		if err != nil {
			return nil, fmt.Errorf("read the rules: %w", err)
		}
		text = string(read)
	}
	if len(text) > maxRulesBytes {
		return nil, fmt.Errorf("the rules have more than %d bytes", maxRulesBytes)
	}
	r := &Rules{}
	d := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	d.KnownFields(true)
	if err := d.Decode(r); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("decode the rules: %w", err)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	return r, nil
}

// check says all that is wrong with the rules, and prepares what is derived of them.
func (r *Rules) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(r.Targets) > maxTargets || len(r.Rules) > maxRules {
		bad("%d targets and %d rules, more than %d and %d", len(r.Targets), len(r.Rules), maxTargets, maxRules)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Targets)) {
		t := r.Targets[name]
		if name == "" || len(name) > 40 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			bad("invalid name of a target %.60q: want letters, digits and -", name)
		}
		if _, err := target.Open(t.Config, http.DefaultTransport); err != nil {
			bad("target %s: %w", name, err)
		}
		if q := t.Quiet; q != nil {
			if err := q.prepare(); err != nil {
				bad("quiet hours of target %s: %w", name, err)
			}
		}
		if d := t.Digest; d != nil {
			if err := d.prepare(); err != nil {
				bad("digest of target %s: %w", name, err)
			}
			if t.Quiet != nil {
				bad("target %s has both quiet hours and a digest", name)
			}
		}
	}
	kinds := map[string]bool{}
	for _, k := range signal.Kinds() {
		kinds[k.Kind] = true
	}
	for i := range r.Rules {
		rule := &r.Rules[i]
		if len(rule.To) == 0 {
			bad("rule %d names no target", i+1)
		}
		for _, name := range rule.To {
			if _, ok := r.Targets[name]; !ok {
				bad("rule %d: there is no target %.60q", i+1, name)
			}
		}
		for _, kind := range slices.Concat(rule.Kinds, slices.Sorted(maps.Keys(rule.Least))) {
			if !kinds[kind] {
				bad("rule %d: there is no kind %.60q", i+1, kind)
			}
		}
		if rule.Severity != "" && !slices.Contains(signal.Severities(), rule.Severity) {
			bad("rule %d: severity %.40q is none of %v", i+1, rule.Severity, signal.Severities())
		}
	}
	if len(r.Targets) == 0 && len(r.Rules) > 0 {
		bad("there are rules, but no targets")
	}
	return errors.Join(errs...)
}

// clock reads a time of the day such as 07:30, as minutes.
func clock(text string) (int, error) {
	at, err := time.Parse("15:04", text)
	if err != nil {
		return 0, fmt.Errorf("invalid time %.20q: want one such as 07:30", text)
	}
	return at.Hour()*60 + at.Minute(), nil
}

func (q *Quiet) prepare() (err error) {
	if q.from, err = clock(q.From); err != nil {
		return err
	}
	if q.to, err = clock(q.To); err != nil {
		return err
	}
	if q.from == q.to {
		return errors.New("they would last all day")
	}
	if q.Except != "" && !slices.Contains(signal.Severities(), q.Except) {
		return fmt.Errorf("severity %.40q is none of %v", q.Except, signal.Severities())
	}
	if q.zone, err = time.LoadLocation(q.Zone); err != nil {
		return fmt.Errorf("time zone %.60q: %w", q.Zone, err)
	}
	return nil
}

// end is when the quiet hours end that are at a time, the time itself if none are.
func (q *Quiet) end(at time.Time) time.Time {
	local := at.In(q.zone)
	minute := local.Hour()*60 + local.Minute()
	inside, days := q.from <= minute && minute < q.to, 0
	if q.from > q.to { // over midnight
		inside = minute >= q.from || minute < q.to
		if minute >= q.from {
			days = 1
		}
	}
	if !inside {
		return at
	}
	return time.Date(local.Year(), local.Month(), local.Day()+days, q.to/60, q.to%60, 0, 0, q.zone)
}

func (d *Digest) prepare() (err error) {
	if d.Every != "day" && d.Every != "week" {
		return fmt.Errorf("every %.20q: want day or week", d.Every)
	}
	if d.at, err = clock(d.At); err != nil {
		return err
	}
	if d.zone, err = time.LoadLocation(d.Zone); err != nil {
		return fmt.Errorf("time zone %.60q: %w", d.Zone, err)
	}
	return nil
}

// next is the next time after another at which the digest is sent.
func (d *Digest) next(after time.Time) time.Time {
	local := after.In(d.zone)
	for day := 0; ; day++ {
		at := time.Date(local.Year(), local.Month(), local.Day()+day, d.at/60, d.at%60, 0, 0, d.zone)
		if at.After(after) && (d.Every == "day" || at.Weekday() == time.Monday) {
			return at
		}
	}
}

// due is when a target may be sent a signal, if it is to be sent at a time.
func (t *Target) due(s *event.Signal, at time.Time) time.Time {
	switch {
	case t.Digest != nil:
		return t.Digest.next(at)
	case t.Quiet != nil && (t.Quiet.Except == "" || rank(s.Severity) < rank(t.Quiet.Except)):
		return t.Quiet.end(at)
	}
	return at
}

func rank(severity string) int { return slices.Index(signal.Severities(), severity) }

// targets are the names of those that a signal is sent to, each once, sorted.
func (r *Rules) targets(s *event.Signal) []string {
	var names []string
	for i := range r.Rules {
		if r.Rules[i].applies(s) {
			names = append(names, r.Rules[i].To...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (r *Rule) applies(s *event.Signal) bool {
	has := func(list []string, text string) bool {
		return slices.ContainsFunc(list, func(e string) bool { return strings.EqualFold(e, text) })
	}
	switch {
	case len(r.Kinds) > 0 && !slices.Contains(r.Kinds, s.Kind),
		len(r.Owners) > 0 && !has(r.Owners, s.Owner),
		len(r.Companies) > 0 && (s.Company == nil || !has(r.Companies, *s.Company)),
		r.Severity != "" && rank(s.Severity) < rank(r.Severity):
		return false
	}
	least, ok := r.Least[s.Kind]
	return !ok || s.Value != nil && math.Abs(*s.Value) >= least
}
