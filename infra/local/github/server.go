// Package github is a stand-in for GitHub's GraphQL API, and for the feeds of events
// of its REST API: an HTTP handler that answers queries from a world of its own. Each
// query is checked against GitHub's published schema, and answered with GitHub's
// paging, nulls, errors, points, limits and ways to fail.
//
// It is an emulation, made from what GitHub documents and what its users have
// measured. It models the types and fields that a sweep may want; a field that
// GitHub has and the emulator does not is answered 501.
//
// It is a module of its own: `pulse github-emulator` serves it, and the tests of
// functions/fetch-org, a module that the root requires, ask it.
package github

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

// Server answers queries as an http.Handler.
type Server struct {
	schema *ast.Schema

	mu       sync.Mutex
	world    *World
	now      func() time.Time
	pace     float64
	skew     time.Duration
	timing   Timing
	tokens   map[string]*token
	accounts map[string]*account // by login
	faults   []Fault
	weather  *Weather
	asked    map[uint64]uint64 // how often, by query and variables
	observer func(Request)
	requests []Request
	cursors  map[string]string // the first that was asked for, by owner
}

// token opens one account.
type token struct {
	account *account
	expires time.Time // zero: never
	denied  string    // why it opens nothing, if so
}

// Request is one query that the server took in.
type Request struct {
	Operation string // the query's first field
	Login     string
	After     string // cursor
	Token     string
	User      string
	At        time.Time
	Cost      int64         // points, of a query that was let in
	Took      time.Duration // GitHub's time, of a query that was let in
	Killed    bool          // after KillAfter
	Refused   bool          // by a limit
	Breach    bool          // of a limit that the user should have heard of
	Query     uint64        // a digest of the query and its variables
}

// New returns a server that accepts the given tokens, each of a user of its
// own. It has no timing, no faults, and the real clock. It fails if GitHub's schema
// is not in the cache and cannot be fetched.
func New(world *World, tokens ...string) (*Server, error) {
	schema, err := schema()
	if err != nil {
		return nil, err
	}
	s := &Server{
		schema: schema, world: world, now: time.Now, pace: 1,
		tokens: map[string]*token{}, accounts: map[string]*account{}, asked: map[uint64]uint64{}, cursors: map[string]string{},
	}
	world.index(time.Time{})
	for i, t := range tokens {
		s.Grant(t, fmt.Sprintf("user-%d", i+1))
	}
	return s, nil
}

// Grant makes a token of a user. Tokens of one user share the user's limits.
func (s *Server) Grant(value, user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[user]
	if a == nil {
		a = &account{login: user, resource: "graphql", minute: QueriesPerMinute, limit: PointsPerHour, remaining: PointsPerHour,
			core: &account{login: user, resource: "core", minute: requestsPerMinute, limit: RequestsPerHour, remaining: RequestsPerHour}}
		s.accounts[user] = a
	}
	s.tokens[value] = &token{account: a}
}

// Revoke makes the server refuse a token from now on.
func (s *Server) Revoke(value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, value)
}

// Expire makes the server refuse a token from a time on.
func (s *Server) Expire(value string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[value].expires = at
}

// Forbid makes the server accept a token and show it nothing: status 403 with a
// message, as for a suspended account.
func (s *Server) Forbid(value, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[value].denied = message
}

// SetClock replaces the server's clock.
func (s *Server) SetClock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

// SetPace says how many seconds of the server's clock go by in a real one, for
// the time that answers take.
func (s *Server) SetPace(pace float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pace = pace
}

// SetSkew puts GitHub's own clock ahead, as its headers and resetAt show it.
func (s *Server) SetSkew(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skew = d
}

// SetTiming says how long answers take. With it, queries are killed after 10 s,
// and GitHub's work for a user is limited.
func (s *Server) SetTiming(t Timing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timing = t
}

// SetWeather says what goes wrong; nil for nothing.
func (s *Server) SetWeather(w *Weather) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.weather = w
}

// SetRemaining leaves a token's user a number of points until a time.
func (s *Server) SetRemaining(token string, points int64, reset time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.tokens[token].account
	a.remaining, a.reset = points, reset
}

// SetLimit gives a token's user another number of points an hour.
func (s *Server) SetLimit(token string, points int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.tokens[token].account
	a.limit, a.remaining = points, points
}

// Fail makes the next queries that are let in fail, one by each fault. A nil
// fault lets one pass.
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

// Change changes the world while no query is being worked out.
func (s *Server) Change(f func(*World)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.world.live(s.now())
	f(s.world)
	s.world.index(s.now())
}

// Requests lists the queries so far that a token allowed.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Truth says which public repositories an owner had within a time, from its
// record of the world.
func (s *Server) Truth(login string, from, to time.Time) Truth {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.world.live(s.now())
	return s.world.truth(login, from, to)
}

// Biography says whose a repository was when, for people who look for a fault.
func (s *Server) Biography(id int64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.world.find(id)
	if r == nil {
		return "never was"
	}
	text := "created " + r.CreatedAt.UTC().Format(time.DateTime)
	for _, t := range r.tenures {
		text += fmt.Sprintf("; %s/%s from %s", t.owner, t.name, t.from.UTC().Format(time.DateTime))
		if !t.to.IsZero() {
			text += " to " + t.to.UTC().Format(time.DateTime)
		}
	}
	return text
}

// Stars says how many stars a repository had at a time; -1 if there is none.
func (s *Server) Stars(id int64, at time.Time) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.world.find(id); r != nil {
		return r.stars(at)
	}
	return -1
}

// Breaches counts the queries of users that should have waited.
func (s *Server) Breaches() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if r.Breach {
			n++
		}
	}
	return n
}

// SetRequests gives a token's user a number of REST requests an hour.
func (s *Server) SetRequests(token string, requests int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.tokens[token].account.core
	a.limit, a.remaining = requests, requests
}

// ServeHTTP answers one query of GraphQL, on any path, or a GET of the REST API.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		s.rest(w, r)
		return
	}
	var ask struct {
		Query     string         `json:"query"`
		Variables map[string]any `json:"variables"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&ask); err != nil {
		reply(w, http.StatusBadRequest, map[string]any{"message": "Problems parsing JSON", "documentation_url": "https://docs.github.com/graphql"})
		return
	}
	_, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	q, invalid := parse(s.schema, ask.Query, ask.Variables)
	login, _ := ask.Variables["login"].(string)
	after, _ := ask.Variables["after"].(string)
	request := Request{Login: login, After: after, Token: value}
	if q != nil {
		request.Operation = q.first()
	}

	s.mu.Lock()
	observer := s.observer
	s.mu.Unlock()
	if observer != nil {
		observer(request)
	}
	variables, _ := json.Marshal(ask.Variables)
	request.Query = hash(0, ask.Query, string(variables))
	out := s.answer(r.Context(), request, q, invalid)
	for name, values := range out.header {
		w.Header()[name] = values
	}
	out.write(w)
}

// outcome is an answer that is ready to be sent.
type outcome struct {
	header http.Header
	write  func(w http.ResponseWriter)
}

func refusal(status int, message string) outcome {
	return outcome{write: func(w http.ResponseWriter) {
		reply(w, status, map[string]any{"message": message, "documentation_url": "https://docs.github.com/graphql", "status": strconv.Itoa(status)})
	}}
}

// answer lets a query in, works on it, and settles the account.
func (s *Server) answer(ctx context.Context, request Request, q *question, invalid []*failure) outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, key := s.now(), request.Query
	t := s.tokens[request.Token]
	switch {
	case t == nil || !t.expires.IsZero() && !now.Before(t.expires):
		return refusal(http.StatusUnauthorized, "Bad credentials")
	case t.denied != "":
		return refusal(http.StatusForbidden, t.denied)
	}
	a := t.account
	a.renew(now)
	request.User, request.At = a.login, now
	at := len(s.requests)
	s.requests = append(s.requests, request)
	ans := &answer{}
	done := func(write func(http.ResponseWriter)) outcome {
		h := http.Header{}
		a.headers(h, s.now(), s.skew)
		for name, value := range ans.header {
			h.Set(name, value)
		}
		return outcome{h, write}
	}
	if a.exhausted(now) {
		s.requests[at].Refused, s.requests[at].Breach = true, a.knows(now)
		left := a.banned.Sub(now).Truncate(time.Second) + time.Second
		return done(secondary(http.StatusForbidden, left))
	}
	a.queries = append(a.queries, now)
	if invalid != nil {
		return done(body(map[string]any{"errors": invalid}))
	}
	price := q.price()
	if price.nodes > maxNodes {
		return done(body(map[string]any{"errors": []*failure{{Type: "MAX_NODE_LIMIT_EXCEEDED",
			Message: fmt.Sprintf("This query requests up to %d possible nodes which exceeds the maximum limit of %d.", price.nodes, maxNodes)}}}))
	}
	ans = s.draw(key, now)
	if ans.hour {
		a.remaining, a.told = 0, now
	}
	if a.remaining < price.points() {
		s.requests[at].Refused, s.requests[at].Breach = true, a.spent(now)
		return done(body(map[string]any{"errors": []*failure{{Type: "RATE_LIMIT", Code: "graphql_rate_limit",
			Message: "API rate limit already exceeded for user ID " + a.login + "."}}}))
	}
	a.remaining -= price.points()
	s.requests[at].Cost = price.points()

	s.world.live(now)
	x := &execution{question: q, timing: s.timing, limit: ans.limit}
	limit := rateLimit{cost: price.points(), limit: a.limit, remaining: a.remaining, nodes: price.nodes, reset: a.reset.Add(s.skew)}
	data, failures, err := x.run(&root{world: s.world, at: now, login: a.login, limit: limit, blank: ans.blank})
	if err != nil {
		return done(refusal(http.StatusNotImplemented, err.Error()).write)
	}
	var took time.Duration
	if s.timing != (Timing{}) {
		took = x.took(hash(key, strconv.FormatUint(s.asked[key], 10)))
		if ans.killed {
			took = KillAfter
		}
	}
	if took > KillAfter {
		Killed(ans)
		took = KillAfter
	}
	if ans.killed {
		s.requests[at].Killed = true
		a.remaining = max(0, a.remaining-killFine)
	}

	// Others are answered while this one is worked on.
	a.inFlight++
	pace := s.pace
	s.mu.Unlock()
	sleep(ctx, took, pace)
	s.mu.Lock()
	a.inFlight--
	ended := s.now()
	a.work = append(a.work, stint{ended, took})
	s.requests[at].Took = took

	if ans.banned > 0 {
		a.ban(ended, ans.banned)
	}
	if ans.instead != nil {
		return done(ans.instead)
	}
	if s.cursors[request.Login] == "" {
		s.cursors[request.Login] = request.After
	}
	if cursor := s.cursors[request.Login]; ans.round && cursor != "" {
		ans.edit = roundTo(cursor)
	}
	if ans.edit != nil {
		ans.edit(data)
	}
	result := map[string]any{"data": data}
	if len(failures) > 0 {
		result["errors"] = failures
	}
	return done(func(w http.ResponseWriter) { ans.send(ctx, w, result, pace) })
}

// draw says what goes wrong with a query.
func (s *Server) draw(key uint64, now time.Time) *answer {
	ans := &answer{}
	s.asked[key]++
	var fault Fault
	switch {
	case len(s.faults) > 0:
		fault = s.faults[0]
		s.faults = s.faults[1:]
	case s.weather != nil && s.weather.storm(now):
		fault = Unavailable
	case s.weather != nil:
		fault = s.weather.fault(hash(key, strconv.FormatUint(s.asked[key], 10)))
	}
	if fault != nil {
		fault(ans)
	}
	return ans
}

// send writes a body as whole, and as fast, as the answer's faults allow.
func (a *answer) send(ctx context.Context, w http.ResponseWriter, result any, pace float64) {
	text, err := json.Marshal(result)
	if err != nil {
		panic(fmt.Errorf("encode an answer: %w", err)) // it is made of what JSON knows
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	if a.cut > 0 {
		text = text[:int(float64(len(text))*a.cut)]
	}
	const drips = 10
	for i := range drips {
		part := text[len(text)*i/drips : len(text)*(i+1)/drips]
		if _, err := w.Write(part); err != nil {
			return
		}
		if a.late > 0 {
			if f, ok := w.(http.Flusher); ok {
				f.Flush()
			}
			sleep(ctx, a.late/drips, pace)
		}
	}
	if a.cut > 0 {
		panic(http.ErrAbortHandler)
	}
}

// sleep lets a time of the server's clock go by, or ends with the client.
func sleep(ctx context.Context, d time.Duration, pace float64) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(time.Duration(float64(d) / pace))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func body(result any) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { reply(w, http.StatusOK, result) }
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
