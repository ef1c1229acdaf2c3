package knative

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// pinger is a PingSource.
type pinger struct {
	tick      Tick
	namespace string
	post      poster

	mu     sync.Mutex
	fired  int64
	failed int64
	next   time.Time
}

// pingDelivery is what the real PingSource does, whatever its manifest says:
// five more attempts, after 0.1, 0.2, 0.4, 0.8 and 1.6 s.
var pingDelivery = Delivery{Retry: 5, Exponential: true, Delay: 50 * time.Millisecond, Timeout: 30 * time.Second}

// maxNap bounds how long run sleeps at once: timers stand still while a
// machine is suspended, and the wall clock may be set.
const maxNap = time.Minute

// run fires at each time of the schedule until ctx ends, and returns when the
// events it sent are answered. Times that passed while the machine was
// suspended count as one.
func (p *pinger) run(ctx context.Context) {
	var sending sync.WaitGroup
	defer sending.Wait()
	for {
		next := p.tick.Schedule.Next(time.Now().UTC())
		p.mu.Lock()
		p.next = next
		p.mu.Unlock()
		for wait := time.Until(next); wait > 0; wait = time.Until(next) {
			nap := time.NewTimer(min(wait, maxNap))
			select {
			case <-ctx.Done():
				nap.Stop()
				return
			case <-nap.C:
			}
		}
		sending.Go(func() {
			if err := p.fire(ctx, time.Now()); err != nil {
				slog.Warn("tick lost", "pingsource", p.tick.Name, "error", err)
			}
		})
	}
}

// fire sends the event of the given time, and answers when it is accepted.
func (p *pinger) fire(ctx context.Context, at time.Time) error {
	header := http.Header{
		"Ce-Specversion": {"1.0"},
		"Ce-Id":          {rand.Text()},
		"Ce-Type":        {"dev.knative.sources.ping"},
		"Ce-Source":      {"/apis/v1/namespaces/" + p.namespace + "/pingsources/" + p.tick.Name},
		"Ce-Time":        {at.UTC().Format(time.RFC3339Nano)},
		"Content-Type":   {p.tick.ContentType},
	}
	for name, value := range p.tick.Extensions {
		header[attributeHeader(name)] = []string{value}
	}
	v, status, err := deliver(ctx, ctx.Done(), pingDelivery, p.post, header, p.tick.Data, func() {})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fired++
	if v == delivered {
		return nil
	}
	p.failed++
	if err == nil {
		err = fmt.Errorf("it answered %d", status)
	}
	return fmt.Errorf("%s of %s: %w", p.tick.do, p.tick.Function, err)
}
