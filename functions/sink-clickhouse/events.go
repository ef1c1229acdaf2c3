package sinkclickhouse

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// events stores the events of feeds. The key of each is looked up before it is
// inserted: so a record that comes again is left out, be it a repeat or one whose
// marker a crash has prevented.
type events struct {
	*store
	writer  *writer
	decoder *kafka.Decoder[event.GitHubEvent]
	letters *kafka.DeadLetters

	marked []kafka.Mark
}

// Resume implements kafka.Store.
func (e *events) Resume(ctx context.Context, topic string, partitions []int32) (marks []kafka.Mark, err error) {
	marks, err = e.resume(ctx, e.writer, topic, partitions)
	e.marked = marks
	return marks, err
}

// Prepare implements kafka.Store.
func (e *events) Prepare(ctx context.Context, topicID string, b kafka.Block) (kafka.Put, error) {
	rows, invalid, err := e.decoder.Decode(ctx, b.Records)
	if err != nil {
		return nil, err
	}
	b.Records = nil // the rows hold all of it
	return func(ctx context.Context) (kafka.Offsets, error) {
		if err := e.letters.Write(ctx, invalid); err != nil {
			return nil, err
		}
		fresh, err := e.newEvents(ctx, rows)
		if err != nil {
			return nil, err
		}
		err = e.writer.write(ctx, func(ctx context.Context) (err error) {
			if err := e.addEvents(ctx, "pulse.", fresh); err != nil {
				return err
			}
			e.marked, err = e.commit(ctx, event.TopicEvents, topicID, b, e.marked)
			return err
		})
		if err == nil {
			e.decoder.Recycle(rows)
		}
		return b.Next, err
	}, nil
}

// newEvents returns the events that the table lacks, each once.
func (s *store) newEvents(ctx context.Context, rows []*event.GitHubEvent) ([]*event.GitHubEvent, error) {
	known := map[feed.Key]bool{}
	for _, some := range lookupsBy(rows, func(e *event.GitHubEvent) int64 { return e.CreatedAt.UnixMilli() }) {
		if err := s.lookupEvents(ctx, some, known); err != nil {
			return nil, fmt.Errorf("look up %d events: %w", len(some), err)
		}
	}
	fresh := make([]*event.GitHubEvent, 0, len(rows))
	for _, e := range rows {
		if key := e.Key(); !known[key] {
			known[key] = true
			fresh = append(fresh, e)
		}
	}
	return fresh, nil
}

// lookupEvents asks for exact keys, and for their repositories and range of time
// besides, by which ClickHouse can use its index.
func (s *store) lookupEvents(ctx context.Context, some []*event.GitHubEvent, found map[feed.Key]bool) error {
	from, to := some[0].CreatedAt.UnixMilli(), some[0].CreatedAt.UnixMilli()
	ids := map[int64]bool{}
	var repos, keys []string
	for _, e := range some {
		at := e.CreatedAt.UnixMilli()
		from, to = min(from, at), max(to, at)
		keys = append(keys, fmt.Sprintf("(%s,%d,%d)", quote(e.Type), e.ID, at))
		if !ids[e.RepoID] {
			ids[e.RepoID] = true
			repos = append(repos, strconv.FormatInt(e.RepoID, 10))
		}
	}
	rows, err := s.conn.Query(ctx, `SELECT event_type, event_id, toUnixTimestamp64Milli(created_at) FROM pulse.github_events
		WHERE repo_id IN (`+strings.Join(repos, ",")+`)
		AND created_at BETWEEN fromUnixTimestamp64Milli(?) AND fromUnixTimestamp64Milli(?)
		AND (event_type, event_id, toUnixTimestamp64Milli(created_at)) IN (`+strings.Join(keys, ",")+`)`, from, to)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var k feed.Key
		if err := rows.Scan(&k.Type, &k.ID, &k.CreatedAt); err != nil {
			return err
		}
		found[k] = true
	}
	return rows.Err()
}

// addEvents inserts events that the table, whose name begins with a prefix, lacks.
func (s *store) addEvents(ctx context.Context, prefix string, rows []*event.GitHubEvent) error {
	return insertByMonth(ctx, s, prefix+"github_events", append(eventColumns(), arrival[event.GitHubEvent](s)), rows, func(e *event.GitHubEvent) time.Time { return e.CreatedAt })
}
