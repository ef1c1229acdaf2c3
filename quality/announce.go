package quality

import (
	"context"
	"time"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/pipeline"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/signal"
)

// Keep stores what a run has found in ClickHouse, and announces what has changed: a
// signal for each expectation that holds no longer, and one for each that holds again.
//
// It is safe to repeat, and may be ended at any point. Since when an expectation fails
// is stored with its result, and is in the id of the signal; the run after the one that
// noticed announces it again, under the same id, which the stores keep once.
func Keep(ctx context.Context, p *pipeline.Pipeline, env map[string]string, report *Report) error {
	before, err := sinkclickhouse.LastQuality(ctx, p.Hot)
	if err != nil {
		return err
	}
	rows := make([]sinkclickhouse.QualityResult, len(report.Results))
	var signals []*event.Signal
	for i := range report.Results {
		r := &report.Results[i]
		last, known := before[r.Expectation]
		r.CheckedAt, r.Since = report.At, report.At
		if known && last.Passed == r.Passed {
			r.Since = last.Since
		}
		rows[i] = r.QualityResult
		if s := announce(r, last, known); s != nil {
			signals = append(signals, s)
		}
	}
	if err := sinkclickhouse.KeepQuality(ctx, p.Hot, rows); err != nil {
		return err
	}
	return pipeline.Announce(ctx, env, signals)
}

// announce is the signal of a result, or nil if it says nothing new.
func announce(r *Result, last sinkclickhouse.QualityState, known bool) *event.Signal {
	fresh := r.Since.Equal(r.CheckedAt) || known && r.Since.Equal(last.CheckedAt) // or the run before noticed, and may have been ended
	if !fresh || r.Passed && (!known || !r.Since.After(last.First)) {             // it has always held
		return nil
	}
	kind := signal.QualityRestored
	switch {
	case !r.Passed && r.Suite == "hot_cold":
		kind = signal.HotIsNotCold
	case !r.Passed && r.Severity == signal.Critical:
		kind = signal.QualityFailed
	case !r.Passed:
		kind = signal.QualityDoubtful
	}
	s := signal.New(kind)
	s.Owner, s.ObservedAt, s.Metric = signal.Installation, r.Since, &r.Expectation
	s.Evidence = "quality_results/" + r.Expectation + "@" + r.Since.UTC().Format(time.RFC3339)
	if r.Unexpected != nil {
		n := float64(*r.Unexpected)
		s.Value = &n
	}
	if r.Passed {
		s.Say("%s: it holds again. %s", r.Expectation, r.Says)
	} else {
		s.Say("%s", r.Sentence())
	}
	s.Identify()
	return s
}
