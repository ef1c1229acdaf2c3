package github

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// RequestsPerHour is what GitHub's REST API allows a user, besides GraphQL's points.
const (
	RequestsPerHour   = 5000
	requestsPerMinute = 900 // points of a secondary limit; a GET takes one
)

// PollInterval is how many seconds GitHub asks clients to wait between two readings
// of a feed.
const PollInterval = 60

// rest answers a GET of GitHub's REST API: /user, the feeds of events of a
// repository (/repos/{owner}/{repo}/events and /repositories/{id}/events) and of an
// organization (/orgs/{org}/events).
func (s *Server) rest(w http.ResponseWriter, r *http.Request) {
	_, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	path := strings.Trim(strings.TrimPrefix(r.URL.Path, "/api/v3"), "/")
	request := Request{Operation: "GET", Token: value, Login: path, After: r.URL.Query().Get("page")}
	s.mu.Lock()
	observer := s.observer
	s.mu.Unlock()
	if observer != nil {
		observer(request)
	}
	out := s.answerREST(r.Context(), request, path, r.URL.Query(), r.Header.Get("If-None-Match"))
	for name, values := range out.header {
		w.Header()[name] = values
	}
	out.write(w)
}

func (s *Server) answerREST(ctx context.Context, request Request, path string, query url.Values, known string) outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	t := s.tokens[request.Token]
	switch {
	case t == nil || !t.expires.IsZero() && !now.Before(t.expires):
		return refusal(http.StatusUnauthorized, "Bad credentials")
	case t.denied != "":
		return refusal(http.StatusForbidden, t.denied)
	}
	a := t.account.core
	a.renew(now)
	request.User, request.At, request.Query = a.login, now, hash(1, path, query.Encode())
	at := len(s.requests)
	s.requests = append(s.requests, request)
	ans := &answer{}
	done := func(header http.Header, write func(http.ResponseWriter)) outcome {
		if header == nil {
			header = http.Header{}
		}
		a.headers(header, s.now(), s.skew)
		for name, value := range ans.header {
			header.Set(name, value)
		}
		return outcome{header, write}
	}
	if a.exhausted(now) {
		s.requests[at].Refused, s.requests[at].Breach = true, a.knows(now)
		return done(nil, secondary(http.StatusForbidden, a.banned.Sub(now).Truncate(time.Second)+time.Second))
	}
	a.queries = append(a.queries, now)
	ans = s.draw(request.Query, now)
	if ans.hour {
		a.remaining, a.told = 0, now
	}
	if a.remaining < 1 {
		s.requests[at].Refused, s.requests[at].Breach = true, a.spent(now)
		return done(nil, refusal(http.StatusForbidden, "API rate limit exceeded for user ID "+a.login+".").write)
	}
	if ans.banned > 0 {
		a.ban(now, ans.banned)
	}
	if ans.instead != nil {
		a.remaining--
		s.requests[at].Cost = 1
		return done(nil, ans.instead)
	}
	s.world.live(now)
	page, header := s.page(path, query, now, t.account.login)
	if etag := header.Get("Etag"); etag != "" && etag == known { // which is free
		return done(header, func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotModified) })
	}
	a.remaining--
	s.requests[at].Cost = 1
	pace := s.pace
	return done(header, func(w http.ResponseWriter) { page(ctx, w, ans, pace) })
}

// send writes an answer.
type send func(ctx context.Context, w http.ResponseWriter, ans *answer, pace float64)

func restRefusal(status int, message string) send {
	return func(_ context.Context, w http.ResponseWriter, _ *answer, _ float64) {
		refusal(status, message).write(w)
	}
}

// page works out what is at a path.
func (s *Server) page(path string, query url.Values, now time.Time, user string) (send, http.Header) {
	header := http.Header{}
	if path == "user" {
		return func(ctx context.Context, w http.ResponseWriter, ans *answer, pace float64) {
			ans.send(ctx, w, map[string]any{"login": user, "type": "User"}, pace)
		}, header
	}
	repos, moved, ok := s.feedOf(strings.Split(path, "/"))
	if moved != 0 {
		header.Set("Location", fmt.Sprintf("/repositories/%d/events?%s", moved, query.Encode()))
		return restRefusal(http.StatusMovedPermanently, "Moved Permanently"), header
	}
	if !ok {
		return restRefusal(http.StatusNotFound, "Not Found"), header
	}
	perPage, number := numberOr(query.Get("per_page"), 30), numberOr(query.Get("page"), 1)
	perPage = min(perPage, 100)
	if (number-1)*perPage >= FeedEvents {
		return restRefusal(http.StatusUnprocessableEntity, "In order to keep the API fast for everyone, pagination is limited for this resource."), header
	}
	all := shown(now, repos...)
	from, to := min((number-1)*perPage, len(all)), min(number*perPage, len(all))
	list := []json.RawMessage{}
	text := ""
	for _, h := range all[from:to] {
		list, text = append(list, h.raw), text+strconv.FormatInt(h.ID, 10)+" "
	}
	if to < len(all) {
		query.Set("page", strconv.Itoa(number+1))
		header.Set("Link", fmt.Sprintf(`<https://api.github.com/%s?%s>; rel="next"`, path, query.Encode()))
	}
	header.Set("Etag", fmt.Sprintf(`W/"%016x"`, hash(uint64(perPage), text)))
	header.Set("X-Poll-Interval", strconv.Itoa(PollInterval))
	return func(ctx context.Context, w http.ResponseWriter, ans *answer, pace float64) {
		ans.send(ctx, w, list, pace)
	}, header
}

// feedOf finds the repositories of a feed. moved is the id of one that is called
// otherwise now.
func (s *Server) feedOf(parts []string) (repos []*Repo, moved int64, ok bool) {
	switch {
	case len(parts) == 4 && parts[0] == "repos" && parts[3] == "events":
		if r := s.world.named(parts[1], parts[2], false); r != nil {
			return []*Repo{r}, 0, true
		}
		if r := s.world.named(parts[1], parts[2], true); r != nil {
			return nil, r.ID, false
		}
	case len(parts) == 3 && parts[0] == "repositories" && parts[2] == "events":
		id, _ := strconv.ParseInt(parts[1], 10, 64)
		if r := s.world.byID[id]; r != nil && !r.Private {
			return []*Repo{r}, 0, true
		}
	case len(parts) == 3 && parts[0] == "orgs" && parts[2] == "events":
		if o := s.world.Owner(parts[1]); o != nil && o.Type == "Organization" {
			return slices.DeleteFunc(slices.Clone(o.Repos), func(r *Repo) bool { return r.Private }), 0, true
		}
	}
	return nil, 0, false
}

// numberOr reads a number of at least 1.
func numberOr(text string, otherwise int) int {
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// Happened lists all that has happened in a repository up to now, shown by its feed or
// not, in order.
func (s *Server) Happened(id int64) (all []Happening) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.world.live(s.now())
	return s.world.Happened(id)
}

// Window lists what a repository's feed showed at a time, the newest first.
func (s *Server) Window(id int64, at time.Time) (all []Happening) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.world.live(s.now())
	if r := s.world.find(id); r != nil {
		for _, h := range shown(at, r) {
			all = append(all, *h)
		}
	}
	return all
}
