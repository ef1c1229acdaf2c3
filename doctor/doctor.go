// Package doctor looks at everything that the pipeline needs from the outside and says what is wrong and how to mend it. It changes nothing that lasts:
// the one thing that it writes, a file in the warehouse, it removes.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/m7pulse/m7pulse/infra/knative"
)

// Verdict says how bad a finding is.
type Verdict string

// The verdicts, best first.
const (
	OK      Verdict = "ok"
	Warning Verdict = "warning" // it works, and will not for ever
	Wrong   Verdict = "wrong"   // something does not work, or loses data
)

// Finding is what was seen of one thing.
type Finding struct {
	Subject string  `json:"subject"` // what was looked at, such as redis
	Verdict Verdict `json:"verdict"`
	Seen    string  `json:"seen"`           // without secrets
	Cure    string  `json:"cure,omitempty"` // what to do, unless it is well
}

// Installation is what is looked at.
type Installation struct {
	Env    map[string]string // the addresses and secrets, as the functions get them
	Topics []knative.Topic   // as the manifests want them
	Home   string            // a folder on the disk of the embedded servers; empty: there are none
}

// patience is how long one subject may take.
const patience = 15 * time.Second

// subject is one thing to look at. Its error says that it could not be looked at to the end; cure is what mends that.
type subject struct {
	name string
	look func(context.Context, Installation, *notes) error
	cure string
}

// subjects are in the order in which they are reported: what others depend on is first.
func subjects() []subject {
	return []subject{
		{"configuration", configuration, ""},
		{"disk", disk, "check that the home exists and can be read"},
		{"kafka", kafkaServer, "start Kafka, or correct KAFKA_BROKERS, KAFKA_TLS and KAFKA_SASL_*"},
		{"registry", registryServer, "start the schema registry, or correct SCHEMA_REGISTRY_URL: it must answer Confluent's API"},
		{"redis", redisServer, "start Redis, or correct REDIS_URL and the password in it"},
		{"clickhouse", clickHouseServer, "start ClickHouse, or correct CLICKHOUSE_URL and the password in it"},
		{"clickhouse reader", clickHouseReader, "correct CLICKHOUSE_READER_URL, or make that user"},
		{"iceberg", icebergCatalog, "start the catalog and the object store, or correct ICEBERG_CATALOG_URI, ICEBERG_WAREHOUSE and S3_*"},
		{"github", gitHub, "correct GITHUB_GRAPHQL_URL, or open the way to it"},
	}
}

// Examine looks at all subjects at once and returns what it found, in a fixed order. A subject that does not answer within 15 seconds is wrong.
func Examine(ctx context.Context, of Installation) []Finding {
	all := subjects()
	found := make([]notes, len(all))
	var looking sync.WaitGroup
	for i, s := range all {
		looking.Go(func() {
			n := &found[i]
			n.subject = s.name
			ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %s", patience))
			defer cancel()
			if err := s.look(ctx, of, n); err != nil {
				if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.DeadlineExceeded) {
					err = cause
				}
				n.wrong(s.cure, "%v", err)
			}
		})
	}
	looking.Wait()
	var out []Finding
	for i := range found {
		out = append(out, found[i].findings...)
		out = append(out, clockOf(&found[i])...)
	}
	return out
}

// Worst is the worst verdict of all.
func Worst(of []Finding) Verdict {
	rank := []Verdict{OK, Warning, Wrong}
	worst := OK
	for _, f := range of {
		if slices.Index(rank, f.Verdict) > slices.Index(rank, worst) {
			worst = f.Verdict
		}
	}
	return worst
}

// notes are taken while a subject is looked at, by one goroutine.
type notes struct {
	subject  string
	findings []Finding
	ahead    time.Duration // the server's clock before ours
	exact    time.Duration // how far off that may be
	timed    bool
}

func (n *notes) note(v Verdict, cure, seen string, args ...any) {
	n.findings = append(n.findings, Finding{n.subject, v, fmt.Sprintf(seen, args...), cure})
}

func (n *notes) ok(seen string, args ...any)            { n.note(OK, "", seen, args...) }
func (n *notes) warning(cure, seen string, args ...any) { n.note(Warning, cure, seen, args...) }
func (n *notes) wrong(cure, seen string, args ...any)   { n.note(Wrong, cure, seen, args...) }

// clock notes the time of a server that was asked at asked and has answered by now, to within a resolution.
func (n *notes) clock(server, asked time.Time, resolution time.Duration) {
	took := time.Since(asked)
	n.ahead, n.exact, n.timed = server.Sub(asked.Add(took/2)), took/2+resolution, true
}

// maxSkew is how far a clock may be off. Observations carry the time of the process that made them, and ClickHouse's clock says which inserts come too
// late.
const maxSkew = 2 * time.Second

func clockOf(n *notes) []Finding {
	off := max(n.ahead, -n.ahead) - n.exact
	if !n.timed || off <= maxSkew {
		return nil
	}
	direction := "ahead of"
	if n.ahead < 0 {
		direction = "behind"
	}
	return []Finding{{n.subject, Wrong, fmt.Sprintf("its clock is %s %s this machine's", cmp.Or(off.Round(time.Second), time.Second), direction), "have both machines keep time by NTP"}}
}
