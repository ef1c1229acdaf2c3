package event

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/signal"
)

//go:embed schemas/fetch_requested.avsc
var schemaFetchRequested string

//go:embed schemas/repo_observed.avsc
var schemaRepoObserved string

//go:embed schemas/repo_processed.avsc
var schemaRepoProcessed string

//go:embed schemas/owner_swept.avsc
var schemaOwnerSwept string

//go:embed schemas/github_event.avsc
var schemaGitHubEvent string

//go:embed schemas/feed_read.avsc
var schemaFeedRead string

//go:embed schemas/signal.avsc
var schemaSignal string

// Contract is all that is fixed about one type of event.
type Contract struct {
	Type   string
	Topic  string
	Schema string // Avro, as registered under Subject
	source string // the function that emits it, as its CloudEvents source
	blank  func() payload
}

// Subject is the schema's name in the registry.
func (c Contract) Subject() string { return c.Topic + "-value" }

// Contracts lists the events that travel through Kafka.
func Contracts() []Contract {
	var all []Contract
	for _, t := range []string{TypeFetchRequested, TypeRepoObserved, TypeRepoProcessed, TypeOwnerSwept, TypeGitHubEvent, TypeFeedRead, TypeSignal} {
		c, _ := ContractOf(t) // of a known type there is one
		all = append(all, c)
	}
	return all
}

// ContractOf returns the contract of a type. That of an unknown type is ErrInvalid.
func ContractOf(ceType string) (Contract, error) {
	switch ceType {
	case TypeFetchRequested:
		return Contract{ceType, TopicFetchRequests, schemaFetchRequested, "/m7pulse/fetch-org", func() payload { return &FetchRequested{} }}, nil
	case TypeRepoObserved:
		return Contract{ceType, TopicBaseRepos, schemaRepoObserved, "/m7pulse/fetch-org", func() payload { return &observed{} }}, nil
	case TypeRepoProcessed:
		return Contract{ceType, TopicProcessedRepos, schemaRepoProcessed, "/m7pulse/aggregate", func() payload { return &RepoProcessed{} }}, nil
	case TypeOwnerSwept:
		return Contract{ceType, TopicSweeps, schemaOwnerSwept, "/m7pulse/fetch-org", func() payload { return &OwnerSwept{} }}, nil
	case TypeGitHubEvent:
		return Contract{ceType, TopicEvents, schemaGitHubEvent, "/m7pulse/fetch-events", func() payload { return &happened{} }}, nil
	case TypeFeedRead:
		return Contract{ceType, TopicFeedReads, schemaFeedRead, "/m7pulse/fetch-events", func() payload { return &feedRead{} }}, nil
	case TypeSignal:
		return Contract{ceType, TopicSignals, schemaSignal, "/m7pulse/aggregate", func() payload { return &raised{} }}, nil
	}
	return Contract{}, Invalid("event type %q is unknown", ceType)
}

// attributes are the CloudEvents context and the record key of one payload.
type attributes struct {
	id, subject, key string
	time             time.Time
	extensions       []kgo.RecordHeader
}

// payload is what an event of ours carries.
type payload interface {
	// check brings the payload to its stored form and validates it.
	check(now time.Time) error
	attributes() attributes
	// parts are the structs over which its fields are spread, the payload first.
	parts() []any
}

// observed is an Observation as a payload: package repo knows nothing of events.
type observed repo.Observation

func (o *observed) check(now time.Time) error {
	r := (*repo.Observation)(o)
	r.Normalize()
	return r.Validate(now)
}

func (o *observed) UnmarshalJSON(b []byte) error { return (*repo.Observation)(o).UnmarshalJSON(b) }

func (o *observed) attributes() attributes {
	key := strconv.FormatInt(o.ID, 10)
	return attributes{
		id:      key + "@" + strconv.FormatInt(o.ObservedAt.UnixMilli(), 10),
		subject: o.NameWithOwner,
		key:     key,
		time:    o.ObservedAt,
	}
}

func (o *observed) parts() []any { return []any{o} }

func (p *RepoProcessed) parts() []any { return []any{p, &p.Observation, &p.Velocities} }

func (p *RepoProcessed) check(now time.Time) error {
	p.Normalize()
	p.ProcessedAt = p.ProcessedAt.UTC().Truncate(time.Millisecond)
	if p.Revision < 1 {
		return fmt.Errorf("revision %d is less than 1", p.Revision)
	}
	return p.Validate(now)
}

// processed is a RepoProcessed without its velocities.
type processed struct {
	*observation
	ProcessedAt *time.Time `json:"processed_at"`
	Revision    *int64     `json:"revision"`
	Late        *bool      `json:"late"`
}

// observation is an Observation without its methods: its UnmarshalJSON would be that
// of the whole row.
type observation repo.Observation

func (p *RepoProcessed) plain() *processed {
	return &processed{(*observation)(&p.Observation), &p.ProcessedAt, &p.Revision, &p.Late}
}

// UnmarshalJSON reads the JSON form. An unknown field is an error, and so is a missing
// one, unless it may be null. It replaces all that p held.
func (p *RepoProcessed) UnmarshalJSON(b []byte) error {
	*p = RepoProcessed{}
	var all map[string]json.RawMessage
	if err := repo.Strict(b, &all); err != nil {
		return err
	}
	if err := p.Velocities.Set(all); err != nil {
		return err
	}
	rest, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return repo.Strict(rest, p.plain(), "repo_id", "name_with_owner", "stars", "observed_at", "processed_at", "revision")
}

// MarshalJSON writes all fields, of the observation and of its velocities, side
// by side.
func (p RepoProcessed) MarshalJSON() ([]byte, error) {
	b, err := json.Marshal(p.plain())
	if err != nil {
		return nil, err
	}
	all := map[string]any{}
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	maps.Copy(all, p.Velocities.Values())
	return json.Marshal(all)
}

func (p *RepoProcessed) attributes() attributes {
	key := strconv.FormatInt(p.ID, 10)
	return attributes{
		id:      key + "@" + strconv.FormatInt(p.ObservedAt.UnixMilli(), 10) + "#" + strconv.FormatInt(p.Revision, 10),
		subject: p.NameWithOwner,
		key:     key,
		time:    p.ProcessedAt,
	}
}

// happened is a feed.Event as a payload: package feed knows nothing of events of ours.
type happened feed.Event

func (h *happened) check(now time.Time) error {
	e := (*feed.Event)(h)
	e.Normalize()
	return e.Validate(now)
}

func (h *happened) UnmarshalJSON(b []byte) error { return (*feed.Event)(h).UnmarshalJSON(b) }

func (h *happened) attributes() attributes {
	return attributes{
		id:      (*feed.Event)(h).Key().String(),
		subject: h.NameWithOwner,
		key:     strconv.FormatInt(h.RepoID, 10),
		time:    h.CreatedAt,
	}
}

func (h *happened) parts() []any { return []any{h} }

// feedRead is a feed.Reading as a payload.
type feedRead feed.Reading

func (f *feedRead) check(now time.Time) error {
	r := (*feed.Reading)(f)
	r.Normalize()
	return r.Validate(now)
}

func (f *feedRead) UnmarshalJSON(b []byte) error { return (*feed.Reading)(f).UnmarshalJSON(b) }

func (f *feedRead) attributes() attributes {
	key := strconv.FormatInt(f.RepoID, 10)
	return attributes{
		id:      key + "@" + strconv.FormatInt(f.ReadAt.UnixMilli(), 10),
		subject: f.NameWithOwner,
		key:     key,
		time:    f.ReadAt,
	}
}

func (f *feedRead) parts() []any { return []any{f} }

// raised is a signal.Signal as a payload.
type raised signal.Signal

func (r *raised) check(now time.Time) error {
	s := (*signal.Signal)(r)
	s.Normalize()
	return s.Validate(now)
}

func (r *raised) UnmarshalJSON(b []byte) error { return (*signal.Signal)(r).UnmarshalJSON(b) }

func (r *raised) attributes() attributes {
	a := attributes{id: r.ID, subject: r.Owner, key: r.Owner, time: r.ObservedAt, extensions: []kgo.RecordHeader{
		{Key: "ce_" + ExtKind, Value: []byte(r.Kind)}, {Key: "ce_" + ExtSeverity, Value: []byte(r.Severity)},
	}}
	if r.RepoID != nil && r.NameWithOwner != nil {
		a.subject, a.key = *r.NameWithOwner, strconv.FormatInt(*r.RepoID, 10)
	}
	return a
}

func (r *raised) parts() []any { return []any{r} }

// UnmarshalJSON reads the JSON form. An unknown or a missing field is an error.
func (f *FetchRequested) UnmarshalJSON(b []byte) error {
	type plain FetchRequested
	return repo.Strict(b, (*plain)(f), "sweep_id", "login")
}

func (f *FetchRequested) parts() []any { return []any{f} }

func (f *FetchRequested) check(time.Time) error {
	if f.SweepID == "" || f.Login == "" {
		return fmt.Errorf("sweep_id and login are required")
	}
	return checkAttributes(f.SweepID, f.Login)
}

func (f *FetchRequested) attributes() attributes {
	return attributes{id: f.SweepID + "/" + f.Login, subject: f.Login, key: f.Login}
}

// UnmarshalJSON reads the JSON form. A missing counter is an error: it must not be
// stored as zero. It replaces all that s held.
func (s *OwnerSwept) UnmarshalJSON(b []byte) error {
	*s = OwnerSwept{}
	type plain OwnerSwept
	return repo.Strict(b, (*plain)(s), "sweep_id", "owner", "status", "started_at", "finished_at", "seen", "unanswered", "pages", "killed_pages", "points", "seconds")
}

func (s *OwnerSwept) parts() []any { return []any{s} }

func (s *OwnerSwept) check(time.Time) error {
	s.StartedAt, s.FinishedAt = s.StartedAt.UTC(), s.FinishedAt.UTC()
	switch s.Status {
	case StatusComplete, StatusIncomplete, StatusUnknownOwner, StatusFailed:
	default:
		return fmt.Errorf("status %q is unknown", s.Status)
	}
	if s.SweepID == "" || s.Owner == "" {
		return fmt.Errorf("sweep_id and owner are required")
	}
	if s.Reason != nil && !utf8.ValidString(*s.Reason) {
		return fmt.Errorf("reason is not UTF-8")
	}
	if s.Reason != nil && len(*s.Reason) > maxReason {
		return fmt.Errorf("reason has %d bytes, more than %d", len(*s.Reason), maxReason)
	}
	return checkAttributes(s.SweepID, s.Owner)
}

// checkAttributes checks that texts may be attributes of an event: these are headers
// in Kafka and HTTP, and CloudEvents allows no control characters in them.
func checkAttributes(texts ...string) error {
	for _, text := range texts {
		if len(text) > maxAttribute {
			return fmt.Errorf("%.20q… has %d bytes, more than %d", text, len(text), maxAttribute)
		}
		if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			return fmt.Errorf("%q is not UTF-8, or holds control characters", text)
		}
	}
	return nil
}

func (s *OwnerSwept) attributes() attributes {
	return attributes{id: s.SweepID + "/" + s.Owner, subject: s.Owner, key: s.Owner, time: s.FinishedAt}
}
