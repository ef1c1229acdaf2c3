// Package event defines the events that M7 Pulse's functions exchange: CloudEvents
// with an Avro payload in the Confluent wire format, their types, topics and schemas.
// No other package knows how an event is encoded.
package event

import (
	"errors"
	"fmt"
	"time"

	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/signal"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// The event types.
const (
	TypeTick           = "dev.knative.sources.ping"
	TypeFetchRequested = "dev.m7pulse.owner.fetch.requested.v1"
	TypeRepoObserved   = "dev.m7pulse.repo.observed.v1"
	TypeRepoProcessed  = "dev.m7pulse.repo.processed.v1"
	TypeOwnerSwept     = "dev.m7pulse.owner.swept.v1"
	TypeGitHubEvent    = "dev.m7pulse.github.event.v1"
	TypeFeedRead       = "dev.m7pulse.feed.read.v1"
	TypeSignal         = "dev.m7pulse.signal.v1"
	TypeBell           = "dev.m7pulse.bell.v1"
)

// The topics, each for one type of event.
const (
	TopicFetchRequests  = "github.fetch_requests"
	TopicBaseRepos      = "github.base_repos"
	TopicProcessedRepos = "github.processed_repos"
	TopicSweeps         = "github.sweeps"
	TopicEvents         = "github.events"
	TopicFeedReads      = "github.feed_reads"
	TopicSignals        = "github.signals"
)

// ErrInvalid marks an event that can never be processed: it has an unknown type,
// cannot be decoded, or has impossible values. It is not retryable.
var ErrInvalid = errors.New("invalid event")

// ErrUnknownSchema marks a record that may be invalid or not: the registry does not
// know its schema id, but no other record of its type has been read with that registry
// either. The registry may be the wrong one or have lost its schemas, and the record
// be valid.
var ErrUnknownSchema = errors.New("the schema registry does not know how a record was written")

// Invalid wraps a reason as ErrInvalid.
func Invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}

// FetchRequested asks for one owner's repositories in one sweep.
type FetchRequested struct {
	SweepID string `avro:"sweep_id" json:"sweep_id"`
	Login   string `avro:"login" json:"login"`
}

// RepoObserved is one reading of one repository's counters.
type RepoObserved = repo.Observation

// Language is one language of a repository and its size in bytes.
type Language = repo.Language

// RepoProcessed is an observation with its velocities. Its key is the observation's. A
// later row of the same key with a higher Revision is its restatement.
type RepoProcessed struct {
	repo.Observation
	ProcessedAt time.Time `avro:"processed_at" json:"processed_at"`
	Revision    int64     `avro:"revision" json:"revision"`
	Late        bool      `avro:"late" json:"late"`
	velocity.Velocities
}

// OwnerSwept is the ledger line of one owner in one sweep: how complete it is. A
// nil field was not determined.
type OwnerSwept struct {
	SweepID     string    `avro:"sweep_id" json:"sweep_id"`
	Owner       string    `avro:"owner" json:"owner"`
	Status      string    `avro:"status" json:"status"` // see the Status constants
	StartedAt   time.Time `avro:"started_at" json:"started_at"`
	FinishedAt  time.Time `avro:"finished_at" json:"finished_at"`
	Expected    *int64    `avro:"expected" json:"expected"`
	Seen        int64     `avro:"seen" json:"seen"`
	New         *int64    `avro:"new" json:"new"`
	Renamed     *int64    `avro:"renamed" json:"renamed"`
	Gone        *int64    `avro:"gone" json:"gone"`
	Unanswered  int64     `avro:"unanswered" json:"unanswered"`
	Pages       int64     `avro:"pages" json:"pages"`
	KilledPages int64     `avro:"killed_pages" json:"killed_pages"`
	Points      int64     `avro:"points" json:"points"`
	Seconds     float64   `avro:"seconds" json:"seconds"`
	Reason      *string   `avro:"reason" json:"reason"`
}

// GitHubEvent is one event of a repository's feed on GitHub.
type GitHubEvent = feed.Event

// FeedRead is the ledger line of one reading of one repository's feed.
type FeedRead = feed.Reading

// Signal says that a repository or an owner has done something out of the usual.
type Signal = signal.Signal

// The values of OwnerSwept.Status.
const (
	StatusComplete     = "complete"
	StatusIncomplete   = "incomplete"
	StatusUnknownOwner = "unknown_owner"
	StatusFailed       = "failed"
)
