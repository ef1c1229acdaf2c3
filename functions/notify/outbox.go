package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

// The outbox in Redis, all in one slot.
const (
	prefix      = "{github:pipeline:notify}:"
	offsetsKey  = prefix + "offsets"  // a hash: how far github.signals is read, by topic id and partition
	seenKey     = prefix + "seen"     // a sorted set of the messages so far, by when they were put in, in ms
	messagesKey = prefix + "messages" // a hash of those that are not sent, as JSON
	targetsKey  = prefix + "targets"  // a set of the targets that messages were for
)

// dueKey is a sorted set of a target's messages by when they are due, in ms.
func dueKey(target string) string { return prefix + "due:" + target }

const (
	// maxOutbox bounds the messages that wait. A fuller outbox is not read into: the
	// records stay in Kafka.
	maxOutbox = 10_000
	// remembered is how long a message is known that was put in. A repeat that comes
	// later is too old to be sent: see maxAge.
	remembered = 72 * time.Hour
)

// errBehind: a restart or a failover of Redis has lost what was put in.
var errBehind = errors.New("the outbox is not as far as it was: what Redis has lost is read again")

var errFull = fmt.Errorf("%d messages wait in the outbox: no more are taken in", maxOutbox)

// message is a signal on its way to a target.
type message struct {
	Target string    `json:"target"`
	Since  time.Time `json:"since"` // when it was due first
	Tries  int       `json:"tries"`
	Record record    `json:"record"`

	id  string // target and signal
	due time.Time
}

// record is the signal's own, for a dead letter.
type record struct {
	Partition int32       `json:"partition"`
	Offset    int64       `json:"offset"`
	Time      time.Time   `json:"time"`
	Key       []byte      `json:"key"`
	Value     []byte      `json:"value"`
	Headers   [][2]string `json:"headers"`
}

func recordOf(r *kgo.Record) record {
	out := record{Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, [2]string{h.Key, string(h.Value)})
	}
	return out
}

func (r *record) kafka(topic string) *kgo.Record {
	out := &kgo.Record{Topic: topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Time, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	return out
}

// outbox keeps the messages that are to be sent, and with them how far the signals are
// read.
type outbox struct{ rdb redis.UniversalClient }

// marks returns how far a topic is read.
func (o *outbox) marks(ctx context.Context) ([]kafka.Mark, error) {
	all, err := o.rdb.HGetAll(ctx, offsetsKey).Result()
	if err != nil {
		return nil, fmt.Errorf("read the offsets of the outbox: %w", err)
	}
	var marks []kafka.Mark
	for field, value := range all {
		id, partition, _ := strings.Cut(field, "/")
		number, err := strconv.ParseInt(partition, 10, 32)
		next, err2 := strconv.ParseInt(value, 10, 64)
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("read the offsets of the outbox: %s=%s: %w", field, value, err)
		}
		marks = append(marks, kafka.Mark{TopicID: id, Partition: int32(number), Next: next})
	}
	return marks, nil
}

// put adds messages that were not put in before, and the offsets after the records that
// they are of, in one step. It is safe to repeat, also by two processes: an offset only
// grows, and a message is known by its id. An outbox that has not reached the offsets
// that it had reached before takes nothing: errBehind.
func (o *outbox) put(ctx context.Context, topicID string, reached, next kafka.Offsets, messages []*message, now time.Time) error {
	keys := []string{offsetsKey, seenKey, messagesKey, targetsKey}
	due := map[string]int{} // the index of each target's key, as Lua counts
	var in struct {
		Now     int64            `json:"now"`
		Forget  int64            `json:"forget"`
		Most    int              `json:"most"`
		Reached map[string]int64 `json:"reached"`
		Offsets map[string]int64 `json:"offsets"`
		// Each is its id, its target's key, when it is due, its text, and its target.
		Messages [][5]any `json:"messages"`
	}
	fields := func(offsets kafka.Offsets) map[string]int64 {
		all := map[string]int64{}
		for p, n := range offsets {
			all[topicID+"/"+strconv.Itoa(int(p.Number))] = n
		}
		return all
	}
	in.Now, in.Forget, in.Most = now.UnixMilli(), now.Add(-remembered).UnixMilli(), maxOutbox
	in.Reached, in.Offsets, in.Messages = fields(reached), fields(next), [][5]any{}
	for _, m := range messages {
		if due[m.Target] == 0 {
			keys = append(keys, dueKey(m.Target))
			due[m.Target] = len(keys)
		}
		text, err := json.Marshal(m)
		if err != nil {
			return fmt.Errorf("encode message %s: %w", m.id, err)
		}
		in.Messages = append(in.Messages, [5]any{m.id, due[m.Target], m.due.UnixMilli(), string(text), m.Target})
	}
	text, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode a block for the outbox: %w", err)
	}
	ok, err := putScript().Run(ctx, o.rdb, keys, text).Int()
	if err != nil {
		return fmt.Errorf("put %d messages into the outbox: %w", len(messages), err)
	}
	switch ok {
	case 0:
		return errFull
	case -1:
		return errBehind
	}
	return nil
}

func putScript() *redis.Script {
	return redis.NewScript(`
local p = cjson.decode(ARGV[1])
for field, reached in pairs(p.reached) do
  if reached > tonumber(redis.call('HGET', KEYS[1], field) or '-1') then return -1 end
end
local new = 0
for _, m in ipairs(p.messages) do
  if not redis.call('ZSCORE', KEYS[2], m[1]) then new = new + 1 end
end
if new > 0 and redis.call('HLEN', KEYS[3]) + new > p.most then return 0 end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. string.format('%.0f', p.forget))
for _, m in ipairs(p.messages) do
  if redis.call('ZADD', KEYS[2], 'NX', string.format('%.0f', p.now), m[1]) == 1 then
    redis.call('HSET', KEYS[3], m[1], m[4])
    redis.call('ZADD', KEYS[m[2]], string.format('%.0f', m[3]), m[1])
    redis.call('SADD', KEYS[4], m[5])
  end
end
for field, next in pairs(p.offsets) do
  if next > tonumber(redis.call('HGET', KEYS[1], field) or '-1') then
    redis.call('HSET', KEYS[1], field, string.format('%.0f', next))
  end
end
return 1
`)
}

// ready returns a target's messages that are due at a time, up to n, the earliest first.
func (o *outbox) ready(ctx context.Context, target string, at time.Time, n int) ([]*message, error) {
	ids, err := o.rdb.ZRangeByScore(ctx, dueKey(target), &redis.ZRangeBy{Min: "-inf", Max: strconv.FormatInt(at.UnixMilli(), 10), Count: int64(n)}).Result()
	if err != nil || len(ids) == 0 {
		return nil, wrap(err, "list the messages for %s", target)
	}
	texts, err := o.rdb.HMGet(ctx, messagesKey, ids...).Result()
	if err != nil {
		return nil, fmt.Errorf("read %d messages for %s: %w", len(ids), target, err)
	}
	var all []*message
	for i, v := range texts {
		text, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("read message %s: it is not there", ids[i])
		}
		m := &message{}
		if err := json.Unmarshal([]byte(text), m); err != nil {
			return nil, fmt.Errorf("decode message %s: %w", ids[i], err)
		}
		m.id = ids[i]
		all = append(all, m)
	}
	return all, nil
}

// next is when the earliest of a target's messages is due; zero if none waits.
func (o *outbox) next(ctx context.Context, target string) (time.Time, error) {
	first, err := o.rdb.ZRangeWithScores(ctx, dueKey(target), 0, 0).Result()
	if err != nil || len(first) == 0 {
		return time.Time{}, wrap(err, "read when the next message for %s is due", target)
	}
	return time.UnixMilli(int64(first[0].Score)), nil
}

// targets are the names of those that messages were put in for.
func (o *outbox) targets(ctx context.Context) ([]string, error) {
	names, err := o.rdb.SMembers(ctx, targetsKey).Result()
	return names, wrap(err, "list the targets of the outbox")
}

// remove takes out messages that were sent, or given up. again says that their signals
// may be put in again, from a dead letter.
func (o *outbox) remove(ctx context.Context, target string, messages []*message, again bool) error {
	members, ids := make([]any, len(messages)), make([]string, len(messages))
	for i, m := range messages {
		members[i], ids[i] = m.id, m.id
	}
	_, err := o.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.ZRem(ctx, dueKey(target), members...)
		p.HDel(ctx, messagesKey, ids...)
		if again {
			p.ZRem(ctx, seenKey, members...)
		}
		return nil
	})
	return wrap(err, "remove %d messages for %s", len(messages), target)
}

// postpone keeps messages for later.
func (o *outbox) postpone(ctx context.Context, target string, messages []*message, until time.Time) error {
	_, err := o.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		for _, m := range messages {
			text, err := json.Marshal(m)
			if err != nil {
				return err
			}
			p.HSet(ctx, messagesKey, m.id, text)
			p.ZAddXX(ctx, dueKey(target), redis.Z{Score: float64(until.UnixMilli()), Member: m.id})
		}
		return nil
	})
	return wrap(err, "postpone %d messages for %s", len(messages), target)
}

// waiting counts the messages that are not sent.
func (o *outbox) waiting(ctx context.Context) (int64, error) {
	n, err := o.rdb.HLen(ctx, messagesKey).Result()
	return n, wrap(err, "count the messages that wait")
}

// wrap says what failed; nil stays nil.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
