package audit

import (
	"context"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// Accounts are accounts on GitHub, by id.
type Accounts map[int64]bool

// In says whether one of them acts in an event, or is the author of what is acted on.
func (a Accounts) In(e *event.GitHubEvent) bool {
	return e.ActorID != nil && a[*e.ActorID] || e.AuthorID != nil && a[*e.AuthorID]
}

// Accounts are those that the events of Kafka, up to some ends, know under a login,
// whatever its case.
func (l Log) Accounts(ctx context.Context, ends kafka.Offsets, login string) (Accounts, error) {
	found := Accounts{}
	add := func(id *int64, known *string) {
		if id != nil && known != nil && strings.EqualFold(*known, login) {
			found[*id] = true
		}
	}
	err := l.read(ctx, event.TopicEvents, ends, func(r *kgo.Record) error {
		e, err := l.Codec.GitHubEvent(ctx, r)
		if err == nil {
			add(e.ActorID, e.ActorLogin)
			add(e.AuthorID, e.AuthorLogin)
		}
		return err
	})
	return found, err
}

// Behind is, of each partition that has an event of some accounts, the offset behind the
// last of these.
func (l Log) Behind(ctx context.Context, ends kafka.Offsets, accounts Accounts) (kafka.Offsets, error) {
	behind := kafka.Offsets{}
	err := l.read(ctx, event.TopicEvents, ends, func(r *kgo.Record) error {
		e, err := l.Codec.GitHubEvent(ctx, r)
		if err == nil && accounts.In(e) {
			behind[kafka.Partition{Topic: r.Topic, Number: r.Partition}] = r.Offset + 1
		}
		return err
	})
	return behind, err
}
