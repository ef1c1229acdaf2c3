// Package githubtest is a stand-in for GitHub's GraphQL API: an HTTP handler that
// answers queries from a world of its own, with GitHub's paging, nulls, limits
// and ways to fail. It emulates, and knows no more than M7 Pulse asks.
package githubtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Server answers queries as an http.Handler.
type Server struct {
	mu       sync.Mutex
	world    *World
	light    bool // the query at hand asks for no counters, so it meets no limit
	now      func() time.Time
	budgets  map[string]*budget // by token
	faults   []Fault
	observer func(Request)
	requests []Request
}

// Request is one query that the server took in.
type Request struct {
	Operation string // the query's first field
	Login     string
	After     string // cursor
	Token     string
}

// Fault takes the place of an answer.
type Fault func(w http.ResponseWriter)

// budget is what one token may still spend.
type budget struct {
	limit, remaining int64
	reset            time.Time
}

// pointsPerHour is GitHub's limit for a user.
const pointsPerHour = 5000

// New returns a server that accepts the given tokens, each a user of its own.
func New(world *World, tokens ...string) *Server {
	s := &Server{world: world, now: time.Now, budgets: map[string]*budget{}}
	for _, token := range tokens {
		s.budgets[token] = &budget{limit: pointsPerHour, remaining: pointsPerHour}
	}
	return s
}

// SetClock replaces the server's clock.
func (s *Server) SetClock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

// SetRemaining leaves a token a number of points until a time.
func (s *Server) SetRemaining(token string, points int64, reset time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.budgets[token]
	b.remaining, b.reset = points, reset
}

// Fail makes the next queries fail, one by each fault. A nil fault lets one pass.
func (s *Server) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Observe has each query shown to f before it is answered.
func (s *Server) Observe(f func(Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observer = f
}

// Change changes the world while no query is being answered.
func (s *Server) Change(f func(*World)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s.world)
}

// Requests lists the queries so far that a token allowed.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// ServeHTTP answers one query.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Query     string         `json:"query"`
		Variables map[string]any `json:"variables"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&ask); err != nil {
		reply(w, http.StatusBadRequest, map[string]any{"message": "Problems parsing JSON"})
		return
	}
	_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	login, _ := ask.Variables["login"].(string)
	after, _ := ask.Variables["after"].(string)
	q := Request{Operation: operation(ask.Query), Login: login, After: after, Token: token}

	s.mu.Lock()
	observer := s.observer
	s.mu.Unlock()
	if observer != nil {
		observer(q)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.budgets[token]
	if b == nil {
		reply(w, http.StatusUnauthorized, map[string]any{"message": "Bad credentials", "documentation_url": "https://docs.github.com/graphql"})
		return
	}
	s.requests = append(s.requests, q)
	if len(s.faults) > 0 {
		fault := s.faults[0]
		s.faults = s.faults[1:]
		if fault != nil {
			fault(w)
			return
		}
	}
	w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
	granted := b.spend(1, s.now())
	w.Header().Set("X-RateLimit-Limit", strconv.FormatInt(b.limit, 10))
	w.Header().Set("X-RateLimit-Remaining", strconv.FormatInt(b.remaining, 10))
	w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(b.reset.Unix(), 10))
	if !granted {
		reply(w, http.StatusOK, map[string]any{"errors": []*failure{{Type: "RATE_LIMITED", Message: "API rate limit exceeded for user ID 1."}}})
		return
	}
	limit := object{"cost": 1, "limit": b.limit, "remaining": b.remaining, "resetAt": b.reset.UTC().Format(time.RFC3339)}
	s.light = !strings.Contains(ask.Query, "stargazerCount")
	data, failures := execute(ask.Query, ask.Variables, s.root(limit, "user-of-"+strconv.Itoa(len(token))))
	body := map[string]any{}
	if data != nil {
		body["data"] = data
	}
	if len(failures) > 0 {
		body["errors"] = failures
	}
	reply(w, http.StatusOK, body)
}

// spend takes points, if there are as many; an hour after the first spending
// there are all again.
func (b *budget) spend(points int64, now time.Time) bool {
	if !now.Before(b.reset) {
		b.remaining, b.reset = b.limit, now.Add(time.Hour).Truncate(time.Second)
	}
	if b.remaining < points {
		return false
	}
	b.remaining -= points
	return true
}

// Killed is what GitHub's gateway answers for a query of more than 10 s.
func Killed(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(http.StatusBadGateway)
	_, _ = fmt.Fprint(w, "<html><body>We couldn't respond to your request in time.</body></html>")
}

// Secondary is the answer to one who asks too much at once.
func Secondary(retryAfter time.Duration) Fault {
	return func(w http.ResponseWriter) {
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
		reply(w, http.StatusForbidden, map[string]any{"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."})
	}
}

// Forbidden is the answer to one whose organization demands more than a token.
func Forbidden(w http.ResponseWriter) {
	reply(w, http.StatusForbidden, map[string]any{"message": "Resource protected by organization SAML enforcement."})
}

// TimedOut is GitHub's other way to give up on a query.
func TimedOut(w http.ResponseWriter) {
	reply(w, http.StatusOK, map[string]any{"data": nil, "errors": []*failure{{Message: "Something went wrong while executing your query. This may be the result of a timeout."}}})
}

// Garbage is an answer that was cut.
func Garbage(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprint(w, `{"data":{"organization":{"repositories":{"totalCount":7,"nodes":[{"id":`)
}

// operation is the name of a query's first field.
func operation(query string) string {
	_, body, _ := strings.Cut(query, "{")
	if i := strings.IndexAny(body, "({ "); i >= 0 {
		return body[:i]
	}
	return body
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
