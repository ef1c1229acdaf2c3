package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/signal"
)

// target is a webhook that notify sends signals to. It knows a message by its id, as
// the documents tell receivers to.
type target struct {
	mu       sync.Mutex
	messages map[string]string // the signal of each message that was accepted
	repeats  int
}

const targetSecret = "whsec_Y2hhb3NjaGFvc2NoYW9zY2hhb3NjaGFvc2NoYW9z"

// ServeHTTP accepts a message. One that did not come whole is not answered.
func (g *target) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var e struct {
		ID string `json:"id"`
	}
	body, err := io.ReadAll(r.Body)
	id := r.Header.Get("Webhook-Id")
	if err != nil || json.Unmarshal(body, &e) != nil || id == "" {
		panic(http.ErrAbortHandler)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.messages[id]; known {
		g.repeats++
	}
	g.messages[id] = e.ID
}

// startTarget starts the webhook, and has notify send all signals to it.
func (p *pipeline) startTarget() {
	p.target = &target{messages: map[string]string{}}
	srv := httptest.NewServer(p.target)
	p.t.Cleanup(srv.Close)
	p.links["target"] = newLink(p.t, "target", srv.Listener.Addr().String())
	p.rules = fmt.Sprintf("targets: {hook: {webhook: %q, secret: %s}}\nrules: [{to: [hook]}]\n", "http://"+p.links["target"].addr(), targetSecret)
}

// raised is a signal of today, as fetch-org raises them: those that follow from the load
// are of last year, and too old to be sent.
func (l *load) raised() *event.Signal {
	n := int64(len(l.signals)) + 1
	name := fmt.Sprintf("acme/repo-%d", n)
	s := signal.New(signal.RepositoryGone)
	s.RepoID, s.NameWithOwner, s.Owner = &n, &name, "acme"
	s.ObservedAt, s.Evidence = time.Now().UTC().Truncate(time.Millisecond), fmt.Sprintf("chaos/%d", n)
	s.Say("%s is gone", name)
	s.Identify()
	return s
}

// delivered waits until the target has each signal of today, and says what it lacks or was
// sent as more than one message.
func (l *load) delivered(ctx context.Context) error {
	const wakes = 8 * time.Second // longer than it takes to be idle: the next process reads anew what Redis has lost
	var woken time.Time
	var refused error // of the last wake: notify may be behind, and is woken again
	for {
		missing, err := l.p.target.compare(l.signals)
		if err != nil || missing == 0 {
			return err
		}
		if ctx.Err() != nil {
			return errors.Join(fmt.Errorf("%d of %d signals were not sent", missing, len(l.signals)), refused)
		}
		if time.Since(woken) > wakes {
			woken = time.Now()
			waking, cancel := context.WithTimeout(ctx, wakes)
			refused = l.p.cluster.Wake(waking, "notify")
			cancel()
		}
		pause(ctx, 200*time.Millisecond)
	}
}

// compare counts the signals that were not received. A signal that came as two messages
// is an error: its receiver could not tell that they are one.
func (g *target) compare(signals []*event.Signal) (missing int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	times := map[string]int{}
	for _, s := range g.messages {
		times[s]++
	}
	var errs []error
	for _, s := range signals {
		switch times[s.ID] {
		case 0:
			missing++
		case 1:
		default:
			errs = append(errs, fmt.Errorf("signal %s was sent as %d messages", s.ID, times[s.ID]))
		}
		delete(times, s.ID)
	}
	for s := range times {
		errs = append(errs, fmt.Errorf("signal %s was sent, which is of last year or was not raised", s))
	}
	return missing, errors.Join(errs...)
}
