// Package signal says what M7 Pulse reports by itself: that a repository or an owner
// has done something out of the usual. The kinds, with their thresholds, are defined
// once, in Kinds; docs/signals.md is made of them.
package signal

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/m7pulse/m7pulse/shared/repo"
)

// Signal is one of them. It follows from one record, its evidence, and from those
// before it; nobody's clock is in it. So what is computed again is the same signal,
// with the same ID. A nil field does not apply to the kind, or is not known.
type Signal struct {
	ID            string    `avro:"signal_id" json:"signal_id"` // see Identify
	Kind          string    `avro:"kind" json:"kind"`
	Severity      string    `avro:"severity" json:"severity"`
	RepoID        *int64    `avro:"repo_id" json:"repo_id"` // nil: it is of the owner
	NameWithOwner *string   `avro:"name_with_owner" json:"name_with_owner"`
	Owner         string    `avro:"owner" json:"owner"`
	Company       *string   `avro:"company" json:"company"`
	ObservedAt    time.Time `avro:"observed_at" json:"observed_at"` // UTC, millisecond precision
	Metric        *string   `avro:"metric" json:"metric"`
	Value         *float64  `avro:"value" json:"value"`
	Usual         *float64  `avro:"usual" json:"usual"`
	Window        *string   `avro:"window" json:"window"`
	Words         string    `avro:"words" json:"words"`
	Evidence      string    `avro:"evidence" json:"evidence"`
}

// The severities, from the one that can wait to the one that cannot.
const (
	Info     = "info"
	Notice   = "notice"
	Warning  = "warning"
	Critical = "critical"
)

// Severities lists them, the least first.
func Severities() []string { return []string{Info, Notice, Warning, Critical} }

// Limits, in bytes. A signal takes any valid observation's names.
const (
	maxName   = 16 << 10
	maxWord   = 64
	maxText   = 1 << 10
	maxID     = 512
	clockSkew = 24 * time.Hour
)

// MaxBytes bounds a valid signal in Avro.
const MaxBytes = 64 << 10

// New returns a signal of a kind, with its severity. The caller says of what it is.
func New(kind string) *Signal {
	s := &Signal{Kind: kind}
	if d, ok := definition(kind); ok {
		s.Severity = d.Severity
	}
	return s
}

// Function is the name of the function that emits signals of this kind.
func (s *Signal) Function() string {
	d, _ := definition(s.Kind)
	return d.Function
}

// Identify sets the ID: kind/repository@time, or kind/owner@time for one of an owner,
// with /metric after it where several of a kind may follow from one record. It is the
// id of the CloudEvent, and what every store knows a repeat by.
func (s *Signal) Identify() { s.ID = s.identity() }

func (s *Signal) identity() string {
	of := strings.ToLower(s.Owner)
	if s.RepoID != nil {
		of = strconv.FormatInt(*s.RepoID, 10)
	}
	id := s.Kind + "/" + of + "@" + strconv.FormatInt(s.ObservedAt.UnixMilli(), 10)
	if (s.Kind == CounterFallen || s.Owner == Installation) && s.Metric != nil {
		id += "/" + *s.Metric
	}
	return id
}

// Say sets the words, as fmt.Sprintf makes them. What a sentence cannot hold is left
// out: control characters, and all beyond its longest.
func (s *Signal) Say(format string, args ...any) {
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, fmt.Sprintf(format, args...))
	for len(text) > maxText {
		_, last := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-last]
	}
	s.Words = text
}

// Normalize brings a signal to the one form that is stored: its time in UTC at
// millisecond precision, its ID filled in.
func (s *Signal) Normalize() {
	s.ObservedAt = s.ObservedAt.UTC().Truncate(time.Millisecond)
	if s.ID == "" {
		s.Identify()
	}
}

// Validate says all that is wrong with a signal, at the time now.
func (s *Signal) Validate(now time.Time) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	d, known := definition(s.Kind)
	if !known {
		bad("kind %.60q is unknown", s.Kind)
	} else if s.Severity != d.Severity {
		bad("severity %.40q is not that of %s, %s", s.Severity, s.Kind, d.Severity)
	}
	if s.ObservedAt.Year() < 1970 || s.ObservedAt.After(now.Add(clockSkew)) {
		bad("observed_at %s is not between 1970 and now", s.ObservedAt.Format(time.RFC3339))
	}
	if s.Owner == "" {
		bad("owner is missing")
	}
	if (s.RepoID == nil) != (s.NameWithOwner == nil) {
		bad("only one of repo_id and name_with_owner is there")
	}
	if s.ID != s.identity() || len(s.ID) > maxID {
		bad("signal_id %.80q is not %.80q", s.ID, s.identity())
	}
	if s.Company != nil && (len(*s.Company) > maxName || !utf8.ValidString(*s.Company)) {
		bad("company has %d bytes, more than %d, or is not UTF-8", len(*s.Company), maxName)
	}
	for _, text := range []struct {
		name  string
		value *string
		most  int
	}{
		{"name_with_owner", s.NameWithOwner, maxName}, {"owner", &s.Owner, maxName},
		{"metric", s.Metric, maxWord}, {"window", s.Window, maxWord}, {"words", &s.Words, maxText}, {"evidence", &s.Evidence, maxText},
	} {
		if text.value != nil && !plain(*text.value, text.most) {
			bad("%s %.80q has more than %d bytes, is not UTF-8, or holds control characters", text.name, *text.value, text.most)
		}
	}
	return errors.Join(errs...)
}

// UnmarshalJSON reads the JSON form. A field that Avro requires must be present; an
// unknown field is refused. Nothing stays of what s held before.
func (s *Signal) UnmarshalJSON(b []byte) error {
	*s = Signal{}
	type plain Signal
	return repo.Strict(b, (*plain)(s), "kind", "severity", "owner", "observed_at", "words", "evidence")
}

// plain says whether a text is UTF-8 of at most a number of bytes, without control
// characters.
func plain(text string, most int) bool {
	return len(text) <= most && utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}
