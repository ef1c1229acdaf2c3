package github

import (
	"net/http"
	"strconv"
	"time"
)

// GitHub's limits of a user, as it documents them.
const (
	PointsPerHour    = 5000
	QueriesPerMinute = 2000
	WorkPerMinute    = 60 * time.Second // time that GitHub works on the user's queries
	InFlight         = 100
	KillAfter        = 10 * time.Second // a query that takes longer gets no answer
)

const (
	// retryAfter is how long GitHub refuses a user that met a secondary limit.
	retryAfter = time.Minute
	// killFine is how many points a killed query costs in addition to its own. GitHub
	// says that there is a fine, but not how high it is.
	killFine = 10
)

// account is one user of GitHub: all limits are the user's, whatever the token.
type account struct {
	login     string
	resource  string   // graphql or core
	minute    int      // queries
	core      *account // the same user in the REST API; nil there
	limit     int64
	remaining int64
	reset     time.Time
	inFlight  int
	queries   []time.Time // of the last minute
	work      []stint     // of the last minute
	banned    time.Time   // until then, by a secondary limit
	told      time.Time   // when the ban was told, or that there are no points
}

// grace is how long a query may have been on its way when its user is refused.
const grace = time.Second

// stint is GitHub's work on one query.
type stint struct {
	ended time.Time
	took  time.Duration
}

// renew gives the user all points again, an hour after the first was spent.
func (a *account) renew(now time.Time) {
	if !now.Before(a.reset) {
		a.remaining, a.reset = a.limit, now.Add(time.Hour).Truncate(time.Second)
	}
}

// ban refuses the user for a time.
func (a *account) ban(now time.Time, d time.Duration) { a.banned, a.told = now.Add(d), now }

// spent notes that a query came for which there are no points, and says whether the
// user had been refused for that in this hour.
func (a *account) spent(now time.Time) (breach bool) {
	if a.remaining > 0 || a.told.Before(a.reset.Add(-time.Hour)) {
		a.told = now
	}
	a.remaining = 0
	return a.knows(now)
}

// knows says whether the user should have heard of the limit that is met.
func (a *account) knows(now time.Time) bool { return now.Sub(a.told) > grace }

// exhausted says whether a secondary limit is met, and bans the user if so.
func (a *account) exhausted(now time.Time) bool {
	minute := now.Add(-time.Minute)
	for len(a.queries) > 0 && !a.queries[0].After(minute) {
		a.queries = a.queries[1:]
	}
	for len(a.work) > 0 && !a.work[0].ended.After(minute) {
		a.work = a.work[1:]
	}
	if now.Before(a.banned) {
		return true
	}
	var work time.Duration
	for _, w := range a.work {
		work += w.took
	}
	if a.inFlight >= InFlight || len(a.queries) >= a.minute || work >= WorkPerMinute {
		a.ban(now, retryAfter)
		return true
	}
	return false
}

// headers tell the state of the user's points. skew is how far GitHub's clock
// is from the world's.
func (a *account) headers(h http.Header, now time.Time, skew time.Duration) {
	h.Set("Date", now.Add(skew).UTC().Format(http.TimeFormat))
	h.Set("X-RateLimit-Limit", strconv.FormatInt(a.limit, 10))
	h.Set("X-RateLimit-Remaining", strconv.FormatInt(a.remaining, 10))
	h.Set("X-RateLimit-Used", strconv.FormatInt(a.limit-a.remaining, 10))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(a.reset.Add(skew).Unix(), 10))
	h.Set("X-RateLimit-Resource", a.resource)
}
