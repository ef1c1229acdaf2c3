package github

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// What GitHub allows a user, less a reserve for whatever else the user does:
// points an hour as GitHub says, 2,000 queries a minute, 60 seconds of its work a
// minute, 100 queries in flight.
const (
	reservePoints = 50
	maxQueries    = 1_800
	maxWork       = 58_500 * time.Millisecond
	maxInFlight   = 20
	// workRate is how many seconds of work may begin in a second. No more than
	// burst is begun ahead of it, so that the minute's work does not come at once
	// and leave every handler waiting for the rest of the minute.
	workRate = 0.975
	burst    = time.Second
	// historyBurst is the same for the query of histories, without which the
	// query before it would be wasted.
	historyBurst = 15 * time.Second
	// firstPenalty is how long a user pauses after a limit for which GitHub names
	// no time; doubled while it lasts, up to maxPenalty.
	firstPenalty = time.Minute
	maxPenalty   = time.Hour
)

// budgets are what each user of GitHub may still ask, in Redis, so that all
// replicas together keep to them. Times in Redis are in ms.
//
// Each user has a hash (the points remaining and when they are renewed, the time
// before which nothing may be asked, the work begun ahead of time) and a log of
// the last minute's queries, ended and in flight, with their work.
type budgets struct{ rdb redis.UniversalClient }

func budgetKeys(user string) []string {
	key := "github:pipeline:budget:{" + user + "}"
	return []string{key, key + ":log"}
}

// permit is the right to ask one question as a user.
type permit struct {
	user   string
	id     string
	points int64
	work   time.Duration // expected
}

// line is the query in the log: in flight with its expected cost, or done.
func (p permit) line(state string, work time.Duration, points int64) string {
	return fmt.Sprintf("%s|%s|%d|%d", p.id, state, work.Milliseconds(), points)
}

// reserve reserves a question's cost, if no more than run of work has been begun
// ahead of time. If there is no room for it, until says when there may be.
func (b *budgets) reserve(ctx context.Context, user string, points int64, work, run time.Duration) (p permit, until time.Time, err error) {
	p = permit{user: user, id: rand.Text(), points: points, work: work}
	now := time.Now()
	reply, err := redis.NewScript(reserveScript).Run(ctx, b.rdb, budgetKeys(user), now.UnixMilli(), p.line("f", work, points),
		points, work.Milliseconds(), pageTimeout.Milliseconds(),
		reservePoints, maxQueries, maxWork.Milliseconds(), maxInFlight, run.Milliseconds(), workRate, maxRateLimitPause.Milliseconds()).Int64()
	if err != nil {
		return p, until, fmt.Errorf("reserve a query of user %s: %w", user, err)
	}
	if reply > 0 {
		return p, time.UnixMilli(reply), nil
	}
	return p, time.Time{}, nil
}

// cost is what a question turned out to cost.
type cost struct {
	work      time.Duration
	known     bool // whether GitHub said what remains
	remaining int64
	reset     time.Time
	rest      time.Time // nothing may be asked before, as GitHub says
	penalty   bool      // the same, but GitHub named no time
	clean     bool      // no limit was met
}

// charge replaces what was reserved by what it cost. It returns until when the
// user has to pause, if GitHub demands it.
func (b *budgets) charge(ctx context.Context, p permit, c cost) (time.Time, error) {
	now := time.Now()
	var remaining, reset, rest, first int64 = -1, 0, 0, 0
	if c.known {
		remaining, reset = c.remaining, c.reset.UnixMilli()
	}
	if !c.rest.IsZero() {
		rest = c.rest.UnixMilli()
	}
	if c.penalty {
		first = firstPenalty.Milliseconds()
	}
	clean := 0
	if c.clean {
		clean = 1
	}
	until, err := redis.NewScript(chargeScript).Run(ctx, b.rdb, budgetKeys(p.user), now.UnixMilli(), p.line("f", p.work, p.points), p.line("d", c.work, 0),
		(c.work - p.work).Milliseconds(), remaining, reset, rest, first, maxPenalty.Milliseconds(), clean, maxRateLimitPause.Milliseconds()).Int64()
	if err != nil {
		return time.Time{}, fmt.Errorf("charge a query of user %s: %w", p.user, err)
	}
	if until == 0 {
		return time.Time{}, nil
	}
	return time.UnixMilli(until), nil
}

// userOf is the name under which a user's budgets are kept.
func userOf(host, login string) string { return strings.ToLower(login) + "@" + host }

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
