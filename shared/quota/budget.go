// Package quota keeps to what GitHub allows: the budgets of each user, which all
// processes share in Redis, and which of several tokens may be used.
package quota

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// Limits are what GitHub allows a user of one of its APIs.
type Limits struct {
	Reserve  int64         // points of the hour that are left for whatever else the user does
	Queries  int           // a minute
	Work     time.Duration // of GitHub, a minute; 0: it is not limited
	Rate     float64       // seconds of work that may begin in a second
	InFlight int
	Timeout  time.Duration // after which a query is no longer in flight
}

const (
	// firstPenalty is how long a user pauses after a limit for which GitHub names
	// no time; doubled while it lasts, up to maxPenalty.
	firstPenalty = time.Minute
	maxPenalty   = time.Hour
	// unlimitedWork stands for a limit of work that there is not.
	unlimitedWork = 24 * time.Hour
)

// Penalty is how long a user or token pauses after a number of failures in a row for
// which GitHub names no time.
func Penalty(failures int) time.Duration { return min(firstPenalty<<min(failures, 10), maxPenalty) }

// Budgets are what each user of GitHub may still ask of one API, in Redis, so that
// all replicas together keep to them. Times in Redis are in ms.
//
// Each user has a hash (the points remaining and when they are renewed, the time
// before which nothing may be asked, the work begun ahead of time) and a log of
// the last minute's queries, ended and in flight, with their work.
type Budgets struct {
	rdb    redis.UniversalClient
	api    string
	limits Limits
	left   *prometheus.GaugeVec // points, by user
}

// New returns the budgets of an API: "" for GraphQL, "rest" for REST, whose points
// GitHub counts apart. It connects to nothing.
func New(rdb redis.UniversalClient, api string, limits Limits) *Budgets {
	if limits.Work == 0 {
		limits.Work, limits.Rate = unlimitedWork, 1
	}
	return &Budgets{rdb, api, limits, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "m7pulse_github_points_left", Help: "Points of the hour that a user of GitHub had left at the last answer, by API.",
	}, []string{"user", "api"})}
}

// Metrics are what is known of the budgets in this process.
func (b *Budgets) Metrics() []prometheus.Collector { return []prometheus.Collector{b.left} }

// Prefix is how the keys of budgets begin; the user follows in braces.
const Prefix = "github:pipeline:budget:"

func (b *Budgets) keys(user string) []string {
	key := Prefix + "{" + user + "}"
	if b.api != "" {
		key += ":" + b.api
	}
	return []string{key, key + ":log"}
}

// Permit is the right to ask one question as a user.
type Permit struct {
	User   string
	ID     string
	points int64
	work   time.Duration // expected
}

// line is the query in the log: in flight with its expected cost, or done.
func (p Permit) line(state string, work time.Duration, points int64) string {
	return fmt.Sprintf("%s|%s|%d|%d", p.ID, state, work.Milliseconds(), points)
}

// Reserve reserves a question's cost, if no more than run of work has been begun
// ahead of time. If there is no room for it, until says when there may be.
func (b *Budgets) Reserve(ctx context.Context, user string, points int64, work, run time.Duration) (p Permit, until time.Time, err error) {
	p = Permit{User: user, ID: rand.Text(), points: points, work: work}
	now := time.Now()
	reply, err := redis.NewScript(reserveScript).Run(ctx, b.rdb, b.keys(user), now.UnixMilli(), p.line("f", work, points),
		points, work.Milliseconds(), b.limits.Timeout.Milliseconds(),
		b.limits.Reserve, b.limits.Queries, b.limits.Work.Milliseconds(), b.limits.InFlight, run.Milliseconds(), b.limits.Rate, MaxPause.Milliseconds()).Int64()
	if err != nil {
		return p, until, fmt.Errorf("reserve a query of user %s: %w", user, err)
	}
	if reply > 0 {
		return p, time.UnixMilli(reply), nil
	}
	return p, time.Time{}, nil
}

// Cost is what a question turned out to cost.
type Cost struct {
	Work      time.Duration
	Known     bool // whether GitHub said what remains
	Remaining int64
	Reset     time.Time
	Rest      time.Time // nothing may be asked before, as GitHub says
	Penalty   bool      // the same, but GitHub named no time
	Clean     bool      // no limit was met
}

// Charge replaces what was reserved by what it cost. It returns until when the
// user has to pause, if GitHub demands it.
func (b *Budgets) Charge(ctx context.Context, p Permit, c Cost) (time.Time, error) {
	now := time.Now()
	var remaining, reset, rest, first int64 = -1, 0, 0, 0
	if c.Known {
		remaining, reset = c.Remaining, c.Reset.UnixMilli()
		b.left.WithLabelValues(p.User, cmp.Or(b.api, "graphql")).Set(float64(remaining))
	}
	if !c.Rest.IsZero() {
		rest = c.Rest.UnixMilli()
	}
	if c.Penalty {
		first = firstPenalty.Milliseconds()
	}
	clean := 0
	if c.Clean {
		clean = 1
	}
	until, err := redis.NewScript(chargeScript).Run(ctx, b.rdb, b.keys(p.User), now.UnixMilli(), p.line("f", p.work, p.points), p.line("d", c.Work, 0),
		(c.Work - p.work).Milliseconds(), remaining, reset, rest, first, maxPenalty.Milliseconds(), clean, MaxPause.Milliseconds()).Int64()
	if err != nil {
		return time.Time{}, fmt.Errorf("charge a query of user %s: %w", p.User, err)
	}
	if until == 0 {
		return time.Time{}, nil
	}
	return time.UnixMilli(until), nil
}

// Work is what the queries of the minute before now have taken of GitHub's work, those
// in flight as is expected of them, by the key of a user's budget.
func Work(ctx context.Context, rdb redis.Cmdable, key string, now time.Time) (all time.Duration, err error) {
	lines, err := rdb.ZRangeByScore(ctx, key+":log", &redis.ZRangeBy{Min: strconv.FormatInt(now.Add(-time.Minute).UnixMilli(), 10), Max: "+inf"}).Result()
	if err != nil {
		return 0, fmt.Errorf("read the log of %s: %w", key, err)
	}
	for _, line := range lines {
		if parts := strings.Split(line, "|"); len(parts) == 4 {
			ms, _ := strconv.ParseInt(parts[2], 10, 64) // as Permit.line writes it
			all += time.Duration(ms) * time.Millisecond
		}
	}
	return all, nil
}

// UserOf is the name under which a user's budgets are kept.
func UserOf(host, login string) string { return strings.ToLower(login) + "@" + host }

// KEYS: budget, log. ARGV: now, line, points, work, timeout; then the limits:
// reserve of points, queries, work, in flight, burst, rate, longest pause.
// Returns 0 if it is granted, else when to ask again.
//
// A time further off than the longest pause was written by a wrong clock, and is
// ignored.
const reserveScript = `
local now, points, work = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local b = redis.call('HMGET', KEYS[1], 'remaining', 'reset', 'rest', 'ahead', 'ahead_at')
local latest = now + tonumber(ARGV[12])
local rest = tonumber(b[3] or '0')
if rest > now and rest <= latest then return rest end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - 60000)
local log = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
local queries, sum, flying, flyingPoints = #log / 2, 0, 0, 0
-- The minute that counts is the one in which the query ends, a little sooner
-- than expected.
local minute = now + work / 2 - 60000
for i = 1, #log, 2 do
  local state, w, p = string.match(log[i], '|(%a)|(%d+)|(%d+)$')
  if tonumber(log[i + 1]) > minute then sum = sum + w end
  if state == 'f' and tonumber(log[i + 1]) > now then
    flying, flyingPoints = flying + 1, flyingPoints + p
  end
end
local reset = tonumber(b[2] or '0')
if b[1] and reset > now and reset <= latest and tonumber(b[1]) - flyingPoints - points < tonumber(ARGV[6]) then return reset end
if flying >= tonumber(ARGV[9]) then return now + 200 end
if queries >= tonumber(ARGV[7]) then return tonumber(log[2]) + 60000 end
local over = sum + work - tonumber(ARGV[8])
if over > 0 and sum > 0 then
  for i = 1, #log, 2 do
    local ended = tonumber(log[i + 1])
    if ended > minute then
      over = over - string.match(log[i], '|%a|(%d+)|')
      if over <= 0 or i == #log - 1 then
        -- what is in flight may end sooner than at its deadline
        if string.match(log[i], '|f|') then return now + 500 end
        return math.floor(math.max(ended + 60000 - work / 2, now)) + 1
      end
    end
  end
end
local rate = tonumber(ARGV[11])
local ahead = math.max(0, tonumber(b[4] or '0') - (now - tonumber(b[5] or '0')) * rate)
if ahead > tonumber(ARGV[10]) then return now + math.ceil((ahead - tonumber(ARGV[10])) / rate) end
redis.call('HSET', KEYS[1], 'ahead', ahead + work, 'ahead_at', now)
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[5]), ARGV[2])
redis.call('PEXPIRE', KEYS[1], 86400000)
redis.call('PEXPIRE', KEYS[2], 86400000)
return 0
`

// KEYS: budget, log. ARGV: now, line, line when done, difference of the work,
// points remaining, their reset, rest, penalty, its maximum, clean, longest
// pause. Returns until when the user pauses, 0 if it need not.
//
// Answers come out of order: the lowest count of points in one hour is right.
const chargeScript = `
local now = tonumber(ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('ZADD', KEYS[2], now, ARGV[3])
local b = redis.call('HMGET', KEYS[1], 'remaining', 'reset', 'rest', 'strikes', 'ahead')
redis.call('HSET', KEYS[1], 'ahead', math.max(0, tonumber(b[5] or '0') + tonumber(ARGV[4])))
local remaining, reset, latest = tonumber(ARGV[5]), tonumber(ARGV[6]), now + tonumber(ARGV[11])
if remaining >= 0 then
  local had = tonumber(b[2] or '0')
  if not b[1] or had > latest then had = 0 end
  if reset > had + 5000 then
    redis.call('HSET', KEYS[1], 'remaining', remaining, 'reset', reset)
  elseif reset > had - 5000 then
    redis.call('HSET', KEYS[1], 'remaining', math.min(remaining, tonumber(b[1])), 'reset', math.max(reset, had))
  end
end
local rest = tonumber(ARGV[7])
if tonumber(ARGV[8]) > 0 then
  local strikes = tonumber(b[4] or '0')
  rest = now + math.min(tonumber(ARGV[8]) * 2 ^ math.min(strikes, 10), tonumber(ARGV[9]))
  redis.call('HSET', KEYS[1], 'strikes', strikes + 1)
elseif ARGV[10] == '1' then
  redis.call('HDEL', KEYS[1], 'strikes')
end
local rests = tonumber(b[3] or '0')
if rests <= latest then rest = math.max(rest, rests) end
if rest <= now then return 0 end
redis.call('HSET', KEYS[1], 'rest', rest)
redis.call('PEXPIRE', KEYS[1], 86400000)
redis.call('PEXPIRE', KEYS[2], 86400000)
return rest
`
