package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/event"
)

// errFenced says that a later holder of the owner's lease has the checkpoint.
var errFenced = errors.New("a later holder has the checkpoint")

// maxAsks is how often a repository is asked for by id, once GitHub has failed
// to answer for it.
const maxAsks = 4

// checkpoints keeps them in Redis: a hash of the fencing token and the
// checkpoint as JSON, sets of the repositories, and an index of the sweeps that
// are not published yet.
type checkpoints struct {
	rdb redis.UniversalClient
	ttl time.Duration
}

// read returns the current checkpoints, nil for a sweep that has none yet.
func (c *checkpoints) read(ctx context.Context, requests ...event.FetchRequested) ([]*checkpoint, error) {
	replies := make([]*redis.StringCmd, len(requests))
	_, err := c.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, r := range requests {
			replies[i] = p.HGet(ctx, checkpointKey(r), "checkpoint")
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("read %d checkpoints: %w", len(requests), err)
	}
	all := make([]*checkpoint, len(requests))
	for i, r := range replies {
		text, err := r.Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read checkpoint %s: %w", member(requests[i]), err)
		}
		if all[i], err = decode(requests[i], text); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// claim shuts out every holder with a lower token and returns the checkpoint,
// a new one if there is none. It fails with errFenced against a higher token.
func (c *checkpoints) claim(ctx context.Context, r event.FetchRequested, token int64) (*checkpoint, error) {
	reply, err := redis.NewScript(claimScript+tallyScript).Run(ctx, c.rdb, sweepKeys(r), token, c.ttl.Milliseconds(), maxAsks).Slice()
	if err != nil {
		return nil, fmt.Errorf("claim checkpoint %s: %w", member(r), err)
	}
	if len(reply) == 0 {
		return nil, fmt.Errorf("claim checkpoint %s: %w", member(r), errFenced)
	}
	text, _ := reply[0].(string)
	cp, err := decode(r, text)
	if err != nil {
		return nil, err
	}
	cp.count(reply[1:])
	return cp, nil
}

// save stores the checkpoint and what the step has added. It fails with
// errFenced if a later holder has claimed it.
func (c *checkpoints) save(ctx context.Context, r event.FetchRequested, token int64, cp *checkpoint, p progress) error {
	text, err := json.Marshal(cp)
	if err != nil {
		return fmt.Errorf("encode checkpoint %s: %w", member(r), err)
	}
	added, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode the progress of %s: %w", member(r), err)
	}
	reply, err := redis.NewScript(saveScript+tallyScript).Run(ctx, c.rdb, sweepKeys(r), token, c.ttl.Milliseconds(), maxAsks, text, added).Slice()
	switch {
	case err != nil:
		return fmt.Errorf("save checkpoint %s: %w", member(r), err)
	case len(reply) == 0:
		return fmt.Errorf("save checkpoint %s: %w", member(r), errFenced)
	}
	cp.count(reply[1:])
	return nil
}

// missing lists some of what is to be asked for by id, what was asked for least
// often first, with how often that was.
func (c *checkpoints) missing(ctx context.Context, r event.FetchRequested, n int) ([]missing, []int, error) {
	members, err := c.rdb.ZRangeByScoreWithScores(ctx, sweepKeys(r)[1], &redis.ZRangeBy{Min: "-inf", Max: fmt.Sprintf("(%d", maxAsks), Count: int64(n)}).Result()
	if err != nil {
		return nil, nil, fmt.Errorf("list the missing repositories of %s: %w", member(r), err)
	}
	all, asked := make([]missing, len(members)), make([]int, len(members))
	for i, m := range members {
		text, _ := m.Member.(string)
		if all[i], err = parseMissing(text); err != nil {
			return nil, nil, err
		}
		asked[i] = int(m.Score)
	}
	return all, asked, nil
}

// members lists the repositories in one of the sweep's sets, by id.
func (c *checkpoints) members(ctx context.Context, r event.FetchRequested, set string) ([]int64, error) {
	members, err := c.rdb.SMembers(ctx, sweepKeys(r)[2+slices.Index(sets, set)]).Result()
	if err != nil {
		return nil, fmt.Errorf("list the repositories %s in %s: %w", set, member(r), err)
	}
	ids := make([]int64, len(members))
	for i, m := range members {
		if ids[i], err = strconv.ParseInt(m, 10, 64); err != nil {
			return nil, fmt.Errorf("list the repositories %s in %s: %w", set, member(r), err)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// implausible counts, by field, the repositories with an implausible value.
func (c *checkpoints) implausible(ctx context.Context, r event.FetchRequested) (map[string]int, error) {
	fields := map[string]int{}
	members := c.rdb.SScan(ctx, sweepKeys(r)[7], 0, "", 1000).Iterator()
	for members.Next(ctx) {
		field, _, _ := strings.Cut(members.Val(), "|")
		fields[field]++
	}
	if err := members.Err(); err != nil {
		return nil, fmt.Errorf("count the implausible fields of %s: %w", member(r), err)
	}
	return fields, nil
}

// wasRead says whether the sweep has read a page.
func (c *checkpoints) wasRead(ctx context.Context, r event.FetchRequested, page string) (bool, error) {
	read, err := c.rdb.SIsMember(ctx, sweepKeys(r)[8], page).Result()
	if err != nil {
		return false, fmt.Errorf("look up a page read by %s: %w", member(r), err)
	}
	return read, nil
}

// unseen returns which of some repositories the sweep has not seen.
func (c *checkpoints) unseen(ctx context.Context, r event.FetchRequested, ids []int64) ([]int64, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	members := make([]any, len(ids))
	for i, id := range ids {
		members[i] = field(id)
	}
	seen, err := c.rdb.SMIsMember(ctx, sweepKeys(r)[2], members...).Result()
	if err != nil {
		return nil, fmt.Errorf("look up repositories seen by %s: %w", member(r), err)
	}
	var unseen []int64
	for i, id := range ids {
		if !seen[i] {
			unseen = append(unseen, id)
		}
	}
	return unseen, nil
}

// KEYS: checkpoint, missing, sets... ARGV: token, ttl, asks.
const claimScript = `
if tonumber(redis.call('HGET', KEYS[1], 'token') or '0') > tonumber(ARGV[1]) then return {} end
redis.call('HSET', KEYS[1], 'token', ARGV[1])
`

// KEYS: checkpoint, missing, sets in the order of "sets"... ARGV: token, ttl, asks, checkpoint,
// progress. Ids are added one by one, for the argument list of a call is bounded. What is
// seen is not gone, whatever GitHub answered for it before.
const saveScript = `
if tonumber(redis.call('HGET', KEYS[1], 'token') or '0') > tonumber(ARGV[1]) then return {} end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'checkpoint', ARGV[4])
local p = cjson.decode(ARGV[5])
local function each(list, f)
  if type(list) == 'table' then for _, e in ipairs(list) do f(e) end end
end
for i, set in ipairs({'seen', 'new', 'renamed', 'gone', 'excluded', 'odd', 'read'}) do
  each(p[set], function(id) redis.call('SADD', KEYS[i + 2], id) end)
end
each(p.seen, function(id) redis.call('SREM', KEYS[6], id) end)
each(p.missing, function(m)
  if redis.call('SISMEMBER', KEYS[3], string.match(m, '^(%d+)|')) == 0 then redis.call('ZADD', KEYS[2], 'NX', 0, m) end
end)
each(p.failed, function(m) redis.call('ZINCRBY', KEYS[2], 1, m) end)
each(p.settled, function(m) redis.call('ZREM', KEYS[2], m) end)
`

// tallyScript ends both scripts: it returns the checkpoint, the number of the
// missing that are still to be asked for and of all, and the sizes of the sets.
const tallyScript = `
local reply = {redis.call('HGET', KEYS[1], 'checkpoint') or '', redis.call('ZCOUNT', KEYS[2], '-inf', '(' .. ARGV[3]), redis.call('ZCARD', KEYS[2])}
for i, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, ARGV[2])
  if i > 2 then reply[#reply + 1] = redis.call('SCARD', key) end
end
return reply
`
