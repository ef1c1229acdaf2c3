package event_test

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// measured is the last of 60 days of hourly readings of an active repository.
func measured() *event.RepoProcessed {
	o := observation()
	var counts [11]int64
	o.Forks, o.Watchers, o.OpenIssues, o.ClosedIssues, o.OpenPRs = &counts[0], &counts[1], &counts[2], &counts[3], &counts[4]
	o.MergedPRs, o.ClosedPRs, o.Discussions, o.Releases, o.CommitsTotal, o.DiskKB = &counts[5], &counts[6], &counts[7], &counts[8], &counts[9], &counts[10]
	description, language, license, branch, release := "A library for building user interfaces.", "JavaScript", "MIT", "main", "v19.0.0"
	released, created := o.ObservedAt.AddDate(0, -1, 0), o.ObservedAt.AddDate(-9, 0, 0)
	o.Description, o.PrimaryLanguage, o.License, o.DefaultBranch, o.LatestRelease = &description, &language, &license, &branch, &release
	o.LatestReleaseAt, o.CreatedAt, o.UpdatedAt = &released, &created, o.PushedAt
	var h velocity.History
	var p velocity.Point
	for i := range int64(60 * 24) {
		p = velocity.Point{At: o.ObservedAt.Add(-time.Duration(60*24-1-i) * time.Hour).UnixMilli()}
		for v := range p.Values {
			p.Values[v] = 1_000*int64(v+1) + i*int64(v+1)/7
		}
		p.Values[velocity.PushedAt], p.Values[velocity.ReleasedAt] = o.PushedAt.UnixMilli(), released.UnixMilli()
		p.Values[velocity.Name], p.Values[velocity.Branch] = 1, 2
		h = h.Insert(p)
	}
	o.Stars = p.Values[velocity.Stars]
	copy(counts[:10], p.Values[velocity.Forks:velocity.PushedAt])
	return &event.RepoProcessed{Observation: o, ProcessedAt: o.ObservedAt.Add(time.Second), Revision: 1440, Velocities: h.Measure(p)}
}

func BenchmarkCodec(b *testing.B) {
	server := httptest.NewServer(srfake.NewRegistry().Handler())
	defer server.Close()
	c, err := event.NewCodec(server.URL)
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	p := measured()
	processed, err := c.Record(ctx, p, false)
	if err != nil {
		b.Fatal(err)
	}
	observed, err := c.Record(ctx, &p.Observation, false)
	if err != nil {
		b.Fatal(err)
	}
	encode := func(v any, r *kgo.Record) func(b *testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Record(ctx, v, false); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(r.Value)), "bytes/record")
		}
	}
	b.Run("encode observed", encode(&p.Observation, observed))
	b.Run("encode processed", encode(p, processed))
	b.Run("decode observed", func(b *testing.B) {
		b.ReportAllocs()
		var into event.RepoObserved
		for b.Loop() {
			if err := c.ObservedInto(ctx, observed, &into); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode processed", func(b *testing.B) {
		b.ReportAllocs()
		var into event.RepoProcessed
		for b.Loop() {
			if err := c.ProcessedInto(ctx, processed, &into); err != nil {
				b.Fatal(err)
			}
		}
	})
}
