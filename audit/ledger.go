package audit

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/functions/fetch-org/sweep"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// Ledger is the ledger by sweep: of each owner in each sweep the line that was
// finished last.
type Ledger map[string][]event.OwnerSwept

// Ledger reads the ledger lines up to the topic's present end.
func (l Log) Ledger(ctx context.Context) (Ledger, error) {
	ends, err := kafka.Ends(ctx, l.Kafka, event.TopicSweeps)
	if err != nil {
		return nil, err
	}
	return l.readLedger(ctx, ends)
}

func (l Log) readLedger(ctx context.Context, ends kafka.Offsets) (Ledger, error) {
	newest := map[[2]string]event.OwnerSwept{}
	err := l.read(ctx, event.TopicSweeps, ends, func(r *kgo.Record) error {
		line, err := l.Codec.Swept(ctx, r)
		if err != nil {
			return err
		}
		if l.Purged.has(line.Owner, line.FinishedAt) {
			return nil
		}
		of := [2]string{line.SweepID, line.Owner}
		if known, ok := newest[of]; !ok || !line.FinishedAt.Before(known.FinishedAt) {
			newest[of] = *line
		}
		return nil
	})
	out := Ledger{}
	for _, line := range newest {
		out[line.SweepID] = append(out[line.SweepID], line)
	}
	return out, err
}

// Failed returns the owners whose last sweep failed, by owner. An
// owner without a line in the last day of the ledger is no longer swept.
func (l Ledger) Failed() []sweep.Failure {
	last := map[string]event.OwnerSwept{}
	newest := ""
	for id, lines := range l {
		newest = max(newest, id)
		for _, line := range lines {
			if owner := strings.ToLower(line.Owner); last[owner].SweepID < id {
				last[owner] = line
			}
		}
	}
	failed := []sweep.Failure{}
	for _, line := range last {
		if line.Status != event.StatusFailed || olderThanADay(line.SweepID, newest) {
			continue
		}
		f := sweep.Failure{Owner: line.Owner, SweepID: line.SweepID}
		if line.Reason != nil {
			f.Reason = *line.Reason
		}
		failed = append(failed, f)
	}
	slices.SortFunc(failed, func(a, b sweep.Failure) int { return strings.Compare(a.Owner, b.Owner) })
	return failed
}

// olderThanADay compares sweeps by their ids, which are times in a live ledger.
func olderThanADay(id, newest string) bool {
	at, err := time.Parse(time.RFC3339, id)
	now, errNow := time.Parse(time.RFC3339, newest)
	return err == nil && errNow == nil && now.Sub(at) > 24*time.Hour
}
