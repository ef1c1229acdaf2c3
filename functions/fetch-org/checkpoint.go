package fetchorg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/event"
)

// errFenced says that a later holder of the owner's lease has the checkpoint.
var errFenced = errors.New("a later holder has the checkpoint")

// checkpoint is how far one owner's sweep has come. It is the truth about it:
// requests are bells that make somebody look here.
//
// A sweep is open, then its ledger line has a status and cannot change any
// more, then that line is published.
type checkpoint struct {
	Cursor    string           `json:"cursor"`    // after which to go on; "" at the start
	Exhausted bool             `json:"exhausted"` // the last page is read
	OwnerType string           `json:"owner_type"`
	NotBefore time.Time        `json:"not_before"` // GitHub must not be asked earlier
	Worker    int64            `json:"worker"`     // the token of who is at it; 0 when handed over
	Line      event.OwnerSwept `json:"line"`       // the ledger line, as far as it is written
	Published bool             `json:"published"`
}

func (c *checkpoint) closed() bool { return c.Line.Status != "" }

// checkpoints keeps them in Redis: a hash of the fencing token and the
// checkpoint as JSON, a set of the repositories seen, and an index of the
// sweeps that are not published yet.
type checkpoints struct {
	rdb redis.UniversalClient
	ttl time.Duration
}

const index = "github:pipeline:sweeps"

func checkpointKey(r event.FetchRequested) string {
	return "github:pipeline:sweep:" + r.SweepID + ":" + r.Login
}

// seenKey lies in the slot of the checkpoint.
func seenKey(r event.FetchRequested) string { return "{" + checkpointKey(r) + "}:seen" }

// A sweep's place in the index: an owner's sweeps stand together, by time.
func member(r event.FetchRequested) string { return r.Login + " " + r.SweepID }

// register makes sweeps known to later wakes, so that their requests may be
// lost. It may be done again at any time.
func (c *checkpoints) register(ctx context.Context, requests ...event.FetchRequested) error {
	members := make([]redis.Z, len(requests))
	for i, r := range requests {
		members[i].Member = member(r)
	}
	if err := c.rdb.ZAdd(ctx, index, members...).Err(); err != nil {
		return fmt.Errorf("register %d sweeps: %w", len(requests), err)
	}
	return nil
}

// registered says whether a sweep is in the index.
func (c *checkpoints) registered(ctx context.Context, r event.FetchRequested) (bool, error) {
	err := c.rdb.ZScore(ctx, index, member(r)).Err()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up sweep %s: %w", member(r), err)
	}
	return true, nil
}

// unpublished lists the index: one entry for each owner, and a few more where a
// sweep has been overtaken by the next.
func (c *checkpoints) unpublished(ctx context.Context) ([]event.FetchRequested, error) {
	members, err := c.rdb.ZRange(ctx, index, 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("list the open sweeps: %w", err)
	}
	return requestsOf(members), nil
}

// before lists the unpublished sweeps of an owner that are older than one.
func (c *checkpoints) before(ctx context.Context, r event.FetchRequested) ([]event.FetchRequested, error) {
	members, err := c.rdb.ZRangeByLex(ctx, index, &redis.ZRangeBy{Min: "[" + r.Login + " ", Max: "(" + member(r)}).Result()
	if err != nil {
		return nil, fmt.Errorf("list the earlier sweeps of %s: %w", r.Login, err)
	}
	return requestsOf(members), nil
}

func requestsOf(members []string) []event.FetchRequested {
	requests := make([]event.FetchRequested, len(members))
	for i, m := range members {
		requests[i].Login, requests[i].SweepID, _ = strings.Cut(m, " ")
	}
	return requests
}

// read returns checkpoints as they stand, nil for a sweep that has none yet.
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
	reply, err := redis.NewScript(claim).Run(ctx, c.rdb, []string{checkpointKey(r), seenKey(r)}, token, c.ttl.Milliseconds()).Slice()
	if err != nil {
		return nil, fmt.Errorf("claim checkpoint %s: %w", member(r), err)
	}
	if reply[0] == int64(0) {
		return nil, fmt.Errorf("claim checkpoint %s: %w", member(r), errFenced)
	}
	text, _ := reply[1].(string)
	cp, err := decode(r, text)
	if err != nil {
		return nil, err
	}
	if !cp.closed() { // a line that has its status does not change
		cp.Line.Seen, _ = reply[2].(int64)
	}
	return cp, nil
}

// save stores the checkpoint, and adds to the repositories that the sweep has
// seen. It fails with errFenced if a later holder has claimed it.
func (c *checkpoints) save(ctx context.Context, r event.FetchRequested, token int64, cp *checkpoint, seen []int64) error {
	text, err := json.Marshal(cp)
	if err != nil {
		return fmt.Errorf("encode checkpoint %s: %w", member(r), err)
	}
	args := []any{token, c.ttl.Milliseconds(), text}
	for _, id := range seen {
		args = append(args, strconv.FormatInt(id, 10))
	}
	total, err := redis.NewScript(save).Run(ctx, c.rdb, []string{checkpointKey(r), seenKey(r)}, args...).Int64()
	switch {
	case err != nil:
		return fmt.Errorf("save checkpoint %s: %w", member(r), err)
	case total < 0:
		return fmt.Errorf("save checkpoint %s: %w", member(r), errFenced)
	}
	if !cp.closed() {
		cp.Line.Seen = total
	}
	return nil
}

// forget takes a published sweep out of the index. Its checkpoint stays for its
// ttl, to tell a late request that all is done.
func (c *checkpoints) forget(ctx context.Context, r event.FetchRequested) error {
	_, err := c.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ZRem(ctx, index, member(r))
		p.Del(ctx, seenKey(r))
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget sweep %s: %w", member(r), err)
	}
	return nil
}

func decode(r event.FetchRequested, text string) (*checkpoint, error) {
	cp := &checkpoint{Line: event.OwnerSwept{SweepID: r.SweepID, Owner: r.Login}}
	if text == "" {
		return cp, nil
	}
	if err := json.Unmarshal([]byte(text), cp); err != nil {
		return nil, fmt.Errorf("decode checkpoint %s: %w", member(r), err)
	}
	return cp, nil
}

// KEYS: checkpoint, seen. ARGV: token, ttl.
const claim = `
if tonumber(redis.call('HGET', KEYS[1], 'token') or '0') > tonumber(ARGV[1]) then return {0} end
redis.call('HSET', KEYS[1], 'token', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {1, redis.call('HGET', KEYS[1], 'checkpoint') or '', redis.call('SCARD', KEYS[2])}
`

// KEYS: checkpoint, seen. ARGV: token, ttl, checkpoint, ids...
// Ids are added one by one, for the argument list of a call is bounded.
const save = `
if tonumber(redis.call('HGET', KEYS[1], 'token') or '0') > tonumber(ARGV[1]) then return -1 end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'checkpoint', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
for i = 4, #ARGV do redis.call('SADD', KEYS[2], ARGV[i]) end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return redis.call('SCARD', KEYS[2])
`
