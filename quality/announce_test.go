package quality

import (
	"testing"
	"time"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/shared/signal"
)

// A run of hours: what each says of one expectation, and the signal that follows.
func TestAnEpisodeIsAnnouncedOnceAndClears(t *testing.T) {
	start := time.Date(2026, 5, 1, 10, 50, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		suite, severity string
		runs            []bool
		want            []string // the kind at each run, and the hour that its id names
	}{
		"it always holds":               {"days", signal.Critical, []bool{true, true, true}, []string{"", "", ""}},
		"it fails from the first":       {"days", signal.Critical, []bool{false, false, false}, []string{"quality_failed 0", "quality_failed 0", ""}},
		"it fails and is restored":      {"days", signal.Critical, []bool{true, false, false, false, true, true, true}, []string{"", "quality_failed 1", "quality_failed 1", "", "quality_restored 4", "quality_restored 4", ""}},
		"two episodes are two":          {"days", signal.Critical, []bool{false, true, false}, []string{"quality_failed 0", "quality_restored 1", "quality_failed 2"}},
		"a warning is a doubt":          {"days", signal.Warning, []bool{true, false}, []string{"", "quality_doubtful 1"}},
		"the stores differ":             {"hot_cold", signal.Critical, []bool{true, false, true}, []string{"", "hot_is_not_cold 1", "quality_restored 2"}},
		"a restored one that was first": {"days", signal.Warning, []bool{false, true, true}, []string{"quality_doubtful 0", "quality_restored 1", "quality_restored 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			var last sinkclickhouse.QualityState
			known := false
			ids := map[string]string{}
			for hour, passed := range test.runs {
				at := start.Add(time.Duration(hour) * time.Hour)
				r := Result{Says: "It holds.", QualityResult: sinkclickhouse.QualityResult{Suite: test.suite, Expectation: "day_rates", Severity: test.severity, Passed: passed, CheckedAt: at, Since: at}}
				if known && last.Passed == passed {
					r.Since = last.Since
				}
				got := ""
				if s := announce(&r, last, known); s != nil {
					got = s.Kind + " " + string(rune('0'+int(s.ObservedAt.Sub(start)/time.Hour)))
					if err := s.Validate(at); err != nil {
						t.Error(err)
					}
					if was, ok := ids[got]; ok && was != s.ID {
						t.Errorf("%s has the ids %s and %s", got, was, s.ID)
					}
					ids[got] = s.ID
				}
				if got != test.want[hour] {
					t.Errorf("run %d: got %q, want %q", hour, got, test.want[hour])
				}
				first := at
				if known {
					first = last.First
				}
				last, known = sinkclickhouse.QualityState{Passed: passed, CheckedAt: at, Since: r.Since, First: first}, true
			}
		})
	}
}

// Several expectations may fail in one run: their signals are several.
func TestSignalsOfOneRunHaveIdsOfTheirOwn(t *testing.T) {
	at := time.Date(2026, 5, 1, 10, 50, 0, 0, time.UTC)
	ids := map[string]bool{}
	for _, id := range []string{"day_rates", "day_observed"} {
		r := Result{QualityResult: sinkclickhouse.QualityResult{Suite: "days", Expectation: id, Severity: signal.Critical, CheckedAt: at, Since: at}}
		ids[announce(&r, sinkclickhouse.QualityState{}, false).ID] = true
	}
	if len(ids) != 2 {
		t.Errorf("ids %v", ids)
	}
}
