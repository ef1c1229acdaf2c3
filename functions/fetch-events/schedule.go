package fetchevents

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/portfolio"
)

const (
	// enrolledKey says that the schedule was compared with the list of repositories
	// not long ago.
	enrolledKey = "github:pipeline:feeds:enrolled"
	enrolAgain  = 15 * time.Minute
	// batch bounds the feeds that are looked at in one go.
	batch = 1_000
	// keepFor is how long the checkpoint of a feed outlives its last reading: longer
	// than GitHub's window, so that a gap is noticed.
	keepFor = 60 * 24 * time.Hour
	// maxSeen bounds the events that a checkpoint remembers: the window, and some that
	// GitHub may show again.
	maxSeen = 400
)

// due is a feed that is to be read.
type due struct {
	id       int64
	name     string // owner/name
	at       time.Time
	interval time.Duration // 0: it was never read
}

// checkpoint is how far a feed has been read. What it remembers of events are hashes
// of their keys: GitHub's ids are in no order by which one could go on.
type checkpoint struct {
	ETag     string    `json:"etag,omitempty"` // of the first page
	ReadAt   time.Time `json:"read_at"`
	WholeAt  time.Time `json:"whole_at"` // when the whole window was read last
	Pages    int       `json:"pages"`    // that the window had then
	Newest   time.Time `json:"newest"`   // event; zero: none yet
	Interval int64     `json:"interval"` // s
	Span     int64     `json:"span"`     // s from the oldest event of the window to the newest, then
	Fastest  int64     `json:"fastest"`  // s in which half of a window came; 0: there were not as many
	FastAt   time.Time `json:"fast_at"`  // when that was seen last
	LineAt   time.Time `json:"line_at"`  // when the last ledger line was written
	Seen     hashes    `json:"seen,omitempty"`
}

// wholeAfter is how long after the whole window was read it is to be read again.
func (c *checkpoint) wholeAfter() time.Duration {
	return min(max(time.Duration(c.Span)*time.Second/2, shortest), lateBy)
}

// rememberFor is how long a fast run of events is expected to come again: what
// happens once a week is.
const rememberFor = 8 * 24 * time.Hour

// remember notes the fastest run of events in what was listed; 0 for none.
func (c *checkpoint) remember(fastest time.Duration, at time.Time) {
	seconds := int64(fastest / time.Second)
	if c.Fastest == 0 || at.Sub(c.FastAt) > rememberFor || seconds > 0 && seconds <= c.Fastest {
		c.Fastest, c.FastAt = seconds, at
	}
}

// hashes are those of events, the newest first.
type hashes []uint64

// MarshalJSON writes 8 bytes for each, in base64.
func (h hashes) MarshalJSON() ([]byte, error) {
	raw := make([]byte, 0, 8*len(h))
	for _, v := range h {
		raw = binary.BigEndian.AppendUint64(raw, v)
	}
	return json.Marshal(raw)
}

// UnmarshalJSON reads what MarshalJSON has written.
func (h *hashes) UnmarshalJSON(text []byte) error {
	var raw []byte
	if err := json.Unmarshal(text, &raw); err != nil {
		return err
	}
	*h = (*h)[:0]
	for ; len(raw) >= 8; raw = raw[8:] {
		*h = append(*h, binary.BigEndian.Uint64(raw))
	}
	return nil
}

// schedule says which feeds are due, and keeps the checkpoint of each. Only the holder
// of the lease writes. A schedule that is lost is made again from the list of
// repositories; what was read since is then read again, which the stores notice.
type schedule struct{ rdb redis.UniversalClient }

// enrol brings the schedule in line with the listed repositories, at most every 15
// minutes: new ones are due at once, those that are no longer listed are dropped.
func (s schedule) enrol(ctx context.Context, now time.Time) error {
	if done, err := s.rdb.Exists(ctx, enrolledKey).Result(); err != nil || done > 0 {
		return err
	}
	owners, err := portfolio.Owners(ctx, s.rdb)
	if err != nil {
		return err
	}
	listed := map[string]bool{}
	for _, login := range owners {
		err := portfolio.Repositories(ctx, s.rdb, login, func(some []portfolio.Repository) error {
			_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
				for _, r := range some {
					member := strconv.FormatInt(r.ID, 10)
					if owner, name, ok := strings.Cut(r.Name, "/"); !ok || owner == "" || name == "" {
						continue
					}
					listed[member] = true
					p.HSet(ctx, portfolio.FeedNames, member, r.Name)
					p.ZAddNX(ctx, portfolio.FeedsDue, redis.Z{Score: float64(now.UnixMilli()), Member: member})
				}
				return nil
			})
			return err
		})
		if err != nil {
			return fmt.Errorf("enrol the repositories of %s: %w", login, err)
		}
	}
	known, err := s.rdb.ZRange(ctx, portfolio.FeedsDue, 0, -1).Result()
	if err != nil {
		return fmt.Errorf("list the feeds: %w", err)
	}
	var gone []int64
	for _, member := range known {
		if id, err := strconv.ParseInt(member, 10, 64); err == nil && !listed[member] {
			gone = append(gone, id)
		}
	}
	for some := range slices.Chunk(gone, 500) {
		if err := portfolio.ForgetFeeds(ctx, s.rdb, some...); err != nil {
			return err
		}
	}
	if err := s.rdb.Set(ctx, enrolledKey, now.Format(time.RFC3339), enrolAgain).Err(); err != nil {
		return fmt.Errorf("note that the feeds are enrolled: %w", err)
	}
	return nil
}

// due lists feeds that are due, the most overdue first.
func (s schedule) due(ctx context.Context, now time.Time) ([]*due, error) {
	members, err := s.rdb.ZRangeByScoreWithScores(ctx, portfolio.FeedsDue, &redis.ZRangeBy{Min: "-inf", Max: strconv.FormatInt(now.UnixMilli(), 10), Count: batch}).Result()
	if err != nil {
		return nil, fmt.Errorf("list the feeds that are due: %w", err)
	}
	if len(members) == 0 {
		return nil, nil
	}
	ids := make([]string, len(members))
	for i, m := range members {
		ids[i], _ = m.Member.(string)
	}
	names, err := s.rdb.HMGet(ctx, portfolio.FeedNames, ids...).Result()
	if err != nil {
		return nil, fmt.Errorf("list the feeds that are due: %w", err)
	}
	intervals, err := s.rdb.HMGet(ctx, portfolio.FeedIntervals, ids...).Result()
	if err != nil {
		return nil, fmt.Errorf("list the feeds that are due: %w", err)
	}
	var all []*due
	for i, m := range members {
		id, err := strconv.ParseInt(ids[i], 10, 64)
		name, ok := names[i].(string)
		if err != nil || !ok { // being deleted
			continue
		}
		d := &due{id: id, name: name, at: time.UnixMilli(int64(m.Score)), interval: shortest}
		if text, ok := intervals[i].(string); ok {
			if seconds, err := strconv.ParseInt(text, 10, 64); err == nil && seconds > 0 {
				d.interval = time.Duration(seconds) * time.Second
			}
		}
		all = append(all, d)
	}
	slices.SortFunc(all, overdue(now))
	return all, nil
}

// load returns the checkpoint of a feed; nil for one that was never read.
func (s schedule) load(ctx context.Context, id int64) (*checkpoint, error) {
	text, err := s.rdb.HGet(ctx, portfolio.FeedKey(id), "checkpoint").Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	var cp checkpoint
	if err == nil {
		err = json.Unmarshal(text, &cp)
	}
	if err != nil {
		return nil, fmt.Errorf("read the checkpoint of feed %d: %w", id, err)
	}
	return &cp, nil
}

// errFenced: a later holder of the lease has written the checkpoint.
var errFenced = errors.New("another process reads the feeds by now")

// KEYS: checkpoint. ARGV: token, checkpoint, ms until it expires.
const saveScript = `
local token = redis.call('HGET', KEYS[1], 'token')
if token and tonumber(token) > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'checkpoint', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
`

// save stores a checkpoint, and when its feed is due again. It fails with errFenced if
// a later holder of the lease has stored one.
func (s schedule) save(ctx context.Context, id, token int64, cp *checkpoint, next time.Time) error {
	text, err := json.Marshal(cp)
	if err != nil {
		return fmt.Errorf("encode the checkpoint of feed %d: %w", id, err)
	}
	kept, err := redis.NewScript(saveScript).Run(ctx, s.rdb, []string{portfolio.FeedKey(id)}, token, text, keepFor.Milliseconds()).Bool()
	switch {
	case err != nil:
		return fmt.Errorf("save the checkpoint of feed %d: %w", id, err)
	case !kept:
		return fmt.Errorf("save the checkpoint of feed %d: %w", id, errFenced)
	}
	if err := s.rdb.HSet(ctx, portfolio.FeedIntervals, strconv.FormatInt(id, 10), cp.Interval).Err(); err != nil {
		return fmt.Errorf("save the interval of feed %d: %w", id, err)
	}
	return s.postpone(ctx, id, next)
}

// postpone says when a feed is due again, unless it was dropped meanwhile.
func (s schedule) postpone(ctx context.Context, id int64, next time.Time) error {
	err := s.rdb.ZAddXX(ctx, portfolio.FeedsDue, redis.Z{Score: float64(next.UnixMilli()), Member: strconv.FormatInt(id, 10)}).Err()
	if err != nil {
		return fmt.Errorf("schedule feed %d: %w", id, err)
	}
	return nil
}
