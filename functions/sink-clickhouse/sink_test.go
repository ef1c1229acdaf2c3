package sinkclickhouse

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
)

func at(day int, revision int64) *row {
	r := &row{RepoProcessed: &event.RepoProcessed{Revision: revision}}
	r.ID = 1
	r.ObservedAt = time.Date(2025, 1, day, 0, 0, 0, 0, time.UTC)
	return r
}

func TestStateIsTheNewestObservationInItsNewestStatement(t *testing.T) {
	f := func(want *row, rows ...*row) {
		t.Helper()
		u := newPending()
		free := u.add(slices.Clone(rows))
		if len(u.state) != 1 || u.state[1] != want {
			t.Errorf("got %v", u.state)
		}
		if len(free) != len(rows)-1 || slices.Contains(free, want) {
			t.Errorf("%d of %d rows are free, or the one that is kept", len(free), len(rows))
		}
	}
	old, first, again := at(1, 9), at(2, 2), at(2, 10)
	f(again, old, first, again)
	f(again, again, first, old)
	f(first, first, old)
	// An observation that was stated more often than a version can count is
	// still older than the next one.
	f(first, at(1, 1<<40), first)
}

func namesOf[R any](cols []column[R]) (out []string) {
	for _, c := range cols {
		out = append(out, c.name)
	}
	return out
}

func TestConfigurationReportsAllFaultsAtOnceAndNoSecret(t *testing.T) {
	_, err := open(context.Background(), map[string]string{"KAFKA_BROKERS": "nowhere", "SINK_CLICKHOUSE_BLOCK_RECORDS": "0"})
	if err == nil || !strings.Contains(err.Error(), "KAFKA_BROKERS") || !strings.Contains(err.Error(), "SINK_CLICKHOUSE_BLOCK_RECORDS") {
		t.Errorf("%v", err)
	}
	_, err = open(context.Background(), map[string]string{"CLICKHOUSE_URL": "http://user:hunter2@ho st:8123"})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v: want an error without the password", err)
	}
}
