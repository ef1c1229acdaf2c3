// Package github asks GitHub's REST API for the feeds of events of repositories,
// within the budgets of the tokens' users, which all processes share in Redis.
package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"knative.dev/pkg/apis"

	"github.com/m7pulse/m7pulse/shared/quota"
	"github.com/m7pulse/m7pulse/shared/secret"
)

// Config is what is needed to ask GitHub, read from the environment.
type Config struct {
	// Tokens of one or more GitHub users, separated by commas or white space. One is
	// used until its user's budget is spent, then the next.
	Tokens secret.Text `env:"GITHUB_TOKEN"`
	// URL is GraphQL's, from which that of the REST API follows: one setting says
	// where GitHub is.
	URL string `env:"GITHUB_GRAPHQL_URL" envDefault:"https://api.github.com/graphql"`
}

// Validate says all that is wrong with the configuration.
func (c Config) Validate(context.Context) *apis.FieldError {
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return apis.ErrInvalidValue(c.URL, "GITHUB_GRAPHQL_URL", "want http(s)://host/path")
	}
	return nil
}

// base is the address of the REST API: that of GitHub Enterprise, whose GraphQL is at
// /api/graphql, is /api/v3.
func (c Config) base() string {
	base := strings.TrimSuffix(strings.TrimSuffix(c.URL, "/"), "/graphql")
	if strings.HasSuffix(base, "/api") {
		base += "/v3"
	}
	return base
}

// What GitHub's answer may mean other than success, besides *quota.RateLimitedError
// and *quota.RefusedError. ErrGone and ErrNoAnswer are about one repository.
var (
	ErrNoToken  = errors.New("GITHUB_TOKEN is not set: GitHub cannot be asked")
	ErrGone     = errors.New("GitHub shows no such repository")
	ErrNoAnswer = errors.New("GitHub gave no usable answer")
)

const (
	// answerTimeout bounds one request.
	answerTimeout = 10 * time.Second
	// maxAnswer bounds one answer, in bytes: 100 events of the older form, each with
	// a whole pull request, take about 3 MiB.
	maxAnswer = 16 << 20
	// perPage is the most that GitHub gives.
	perPage = 100
	// WindowEvents and WindowAge are what GitHub keeps of a feed.
	WindowEvents = 300
	WindowAge    = 30 * 24 * time.Hour
)

// limits are what GitHub allows a user of its REST API: 5,000 requests an hour, as it
// says in each answer, 900 a minute, and 100 at once, shared with GraphQL.
func limits() quota.Limits {
	return quota.Limits{Reserve: 100, Queries: 800, InFlight: 20, Timeout: answerTimeout + time.Second}
}

// Client asks GitHub. Its methods may be called at the same time.
type Client struct {
	base, host string
	http       *http.Client
	tokens     *quota.Tokens
	budgets    *quota.Budgets
}

// New returns a client that keeps its budgets in rdb. It connects to nothing.
func New(cfg Config, rdb redis.UniversalClient, transport http.RoundTripper) *Client {
	at, _ := url.Parse(cfg.URL) // checked with the configuration
	return &Client{
		base: cfg.base(), host: at.Host,
		// A redirection must not carry the token elsewhere.
		http:   &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		tokens: quota.NewTokens(string(cfg.Tokens)), budgets: quota.New(rdb, "rest", limits()),
	}
}

// Metrics are what the client knows of the budgets.
func (c *Client) Metrics() []prometheus.Collector { return c.budgets.Metrics() }

// Err says why GitHub cannot be asked at present: ErrNoToken, or that it has refused
// every token. It is nil otherwise.
func (c *Client) Err() error {
	switch {
	case len(c.tokens.Each) == 0:
		return ErrNoToken
	case c.tokens.Refused():
		return quota.ErrRefused
	}
	return nil
}

// Page is one page of a feed, the newest events first.
type Page struct {
	Unchanged bool // since the ETag; the answer was free
	ETag      string
	Events    []json.RawMessage
	More      bool          // there is another page
	Wait      time.Duration // before the feed is read again, as GitHub asks
}

// Events reads a page of a repository's feed, from 1. It fails with ErrGone if there
// is no such repository, with ErrNoAnswer if the answer is none, with *quota.RateLimitedError if no token may be used now, and
// with *quota.RefusedError if GitHub refuses them all.
func (c *Client) Events(ctx context.Context, id int64, nameWithOwner string, page int, etag string) (Page, error) {
	query := fmt.Sprintf("/events?per_page=%d&page=%d", perPage, page)
	a, err := c.get(ctx, "/repos/"+nameWithOwner+query, etag)
	if err == nil && a.moved() { // it has another name by now
		a, err = c.get(ctx, "/repositories/"+strconv.FormatInt(id, 10)+query, etag)
	}
	if err != nil {
		return Page{}, fmt.Errorf("ask for page %d of the feed of %s: %w", page, nameWithOwner, err)
	}
	p := Page{ETag: a.Header.Get("Etag")}
	if seconds, err := strconv.Atoi(a.Header.Get("X-Poll-Interval")); err == nil && seconds > 0 && seconds < 3600 {
		p.Wait = time.Duration(seconds) * time.Second
	}
	switch a.status {
	case http.StatusNotModified:
		p.Unchanged = true
		return p, nil
	case http.StatusUnprocessableEntity: // beyond the window
		return p, nil
	case http.StatusOK:
		if err := json.Unmarshal(a.body, &p.Events); err != nil {
			return p, fmt.Errorf("decode page %d of the feed of %s: %w: %w", page, nameWithOwner, ErrNoAnswer, err)
		}
		p.More = strings.Contains(a.Header.Get("Link"), `rel="next"`)
		return p, nil
	case http.StatusNotFound, http.StatusGone, http.StatusForbidden, http.StatusUnavailableForLegalReasons:
		return p, fmt.Errorf("the feed of %s: %w: status %d", nameWithOwner, ErrGone, a.status)
	}
	return p, fmt.Errorf("ask for page %d of the feed of %s: %w: status %d", page, nameWithOwner, ErrNoAnswer, a.status)
}

// answer is an answer of GitHub.
type answer struct {
	quota.Answer
	status int
	body   []byte
}

func (a *answer) moved() bool {
	return a.status == http.StatusMovedPermanently || a.status == http.StatusFound || a.status == http.StatusTemporaryRedirect || a.status == http.StatusPermanentRedirect
}

// limited says whether the answer is a rate limit, which passes.
func (a *answer) limited() bool {
	if a.status == http.StatusTooManyRequests || a.status >= 400 && a.Header.Get("Retry-After") != "" {
		return true
	}
	if a.status != http.StatusForbidden {
		return false
	}
	text := strings.ToLower(string(a.body[:min(len(a.body), 4096)]))
	return a.Header.Get("X-RateLimit-Remaining") == "0" || strings.Contains(text, "rate limit") || strings.Contains(text, "abuse detection")
}

// get asks with the first token whose user has room, and with another if one is
// refused.
func (c *Client) get(ctx context.Context, path, etag string) (*answer, error) {
	for {
		t, permit, err := c.permit(ctx)
		if err != nil {
			return nil, err
		}
		a, err := c.once(ctx, t, path, etag)
		cost := quota.Cost{Clean: err == nil && !a.limited()}
		if err == nil {
			cost.Remaining, cost.Reset, cost.Known = a.Remaining()
			if a.limited() {
				cost.Rest = a.Until()
				cost.Penalty = cost.Rest.IsZero()
			}
		}
		settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		until, e := c.budgets.Charge(settling, permit, cost)
		cancel()
		switch {
		case e != nil:
			return nil, errors.Join(e, err)
		case err != nil:
			return nil, fmt.Errorf("%w: %w", ErrNoAnswer, err)
		case a.limited():
			slog.Warn("GitHub rate limit", "token", t.Number, "status", a.status, "until", until)
		case a.status == http.StatusUnauthorized:
			c.refuse(t)
		default:
			c.tokens.Accept(t)
			return a, nil
		}
	}
}

func (c *Client) refuse(t *quota.Token) time.Time {
	until := c.tokens.Refuse(t, time.Now())
	slog.Error("GitHub refuses a token", "token", t.Number, "of", len(c.tokens.Each), "until", until)
	return until
}

// permit finds a token whose user may ask now. It waits for a moment where too much
// is under way, and no longer.
func (c *Client) permit(ctx context.Context) (*quota.Token, quota.Permit, error) {
	if len(c.tokens.Each) == 0 {
		return nil, quota.Permit{}, ErrNoToken
	}
	for {
		var soonest time.Time
		no := &quota.RefusedError{Cause: quota.ErrRefused}
		for _, t := range c.tokens.Each {
			user, err := c.userOf(ctx, t)
			var wait *quota.RateLimitedError
			var refused *quota.RefusedError
			switch {
			case errors.As(err, &refused):
				no.Until = earliest(no.Until, refused.Until)
				continue
			case errors.As(err, &wait):
				soonest = earliest(soonest, wait.Until)
				continue
			case err != nil:
				return nil, quota.Permit{}, err
			}
			p, until, err := c.budgets.Reserve(ctx, user, 1, 0, time.Second)
			if err != nil || until.IsZero() {
				return t, p, err
			}
			soonest = earliest(soonest, until)
		}
		switch {
		case soonest.IsZero():
			return nil, quota.Permit{}, no
		case time.Until(soonest) > time.Second:
			return nil, quota.Permit{}, &quota.RateLimitedError{Until: soonest}
		}
		select {
		case <-ctx.Done():
			return nil, quota.Permit{}, context.Cause(ctx)
		case <-time.After(max(time.Until(soonest), 0) + rand.N(50*time.Millisecond)):
		}
	}
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// userOf asks GitHub whose token it is, once in a process: budgets are the user's.
func (c *Client) userOf(ctx context.Context, t *quota.Token) (string, error) {
	select {
	case t.Naming <- struct{}{}:
		defer func() { <-t.Naming }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if err := c.tokens.Check(t, time.Now()); err != nil || t.User != "" {
		return t.User, err
	}
	a, err := c.once(ctx, t, "/user", "")
	if err != nil {
		return "", fmt.Errorf("ask whose token %d is: %w: %w", t.Number, ErrNoAnswer, err)
	}
	var is struct {
		Login string `json:"login"`
	}
	switch {
	case a.limited():
		until := a.Until()
		if until.IsZero() {
			until = time.Now().Add(quota.Penalty(t.Failed))
		}
		t.Failed++
		c.tokens.Rest(t, until)
		return "", &quota.RateLimitedError{Until: until}
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		return "", &quota.RefusedError{Until: c.refuse(t), Cause: quota.ErrRefused}
	case a.status != http.StatusOK:
		return "", fmt.Errorf("ask whose token %d is: %w: status %d", t.Number, ErrNoAnswer, a.status)
	}
	if err := json.Unmarshal(a.body, &is); err != nil || is.Login == "" {
		return "", fmt.Errorf("ask whose token %d is: %w: it has no login", t.Number, ErrNoAnswer)
	}
	t.User, t.Failed = quota.UserOf(c.host, is.Login), 0
	cost := quota.Cost{Clean: true}
	cost.Remaining, cost.Reset, cost.Known = a.Remaining()
	_, err = c.budgets.Charge(ctx, quota.Permit{User: t.User, ID: "user"}, cost)
	return t.User, err
}

// once sends one request.
func (c *Client) once(ctx context.Context, t *quota.Token, path, etag string) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+t.Value)
	r.Header.Set("User-Agent", "m7pulse")
	r.Header.Set("Accept", "application/vnd.github+json")
	r.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	}
	return &answer{quota.Answer{Header: resp.Header, At: time.Now()}, resp.StatusCode, body}, nil
}
