package aggregate

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// history is what Redis keeps of one repository, at most 12 KB: its thinned
// points, its newest observation, and how far into Kafka it has been brought.
type history struct {
	Known   int64     `avro:"known"`   // distinct observations seen so far: the next revision less one
	Applied []applied `avro:"applied"` // by partition; more than one only after the topic was widened
	Points  []byte    `avro:"points"`  // packed; while in hand, points
	Newest  []byte    `avro:"newest"`  // the newest observation, as it stood in Kafka

	points velocity.History
	stored uint64 // the version in Redis that this was read at; 0 = absent
	home   int32  // the partition that it was last touched from
}

// applied says that every record of a partition before Next is in a history.
type applied struct {
	Partition int32 `avro:"partition"`
	Next      int64 `avro:"next"`
}

// has says whether the record at this place was applied already.
func (h *history) has(partition int32, offset int64) bool {
	for _, a := range h.Applied {
		if a.Partition == partition {
			return offset < a.Next
		}
	}
	return false
}

// mark notes that the record at this place is applied.
func (h *history) mark(partition int32, offset int64) {
	h.home = partition
	for i, a := range h.Applied {
		if a.Partition == partition {
			h.Applied[i].Next = offset + 1
			return
		}
	}
	h.Applied = append(h.Applied, applied{partition, offset + 1})
}

const historySchema = `{"type": "record", "name": "History", "fields": [
  {"name": "known", "type": "long"},
  {"name": "applied", "type": {"type": "array", "items": {"type": "record", "name": "Applied", "fields": [
    {"name": "partition", "type": "int"}, {"name": "next", "type": "long"}]}}},
  {"name": "points", "type": "bytes"},
  {"name": "newest", "type": "bytes"}]}`

const (
	// stateKey marks valid history: a hash of partition → next offset, up to
	// which every history has been brought. While a partition has no entry,
	// its history is rebuilt from Kafka before anything is computed from it.
	stateKey = "github:pipeline:state"
	// form is that of the histories that this version writes. State of another
	// form is rebuilt from Kafka.
	form = 2
	// epochField says when the state was begun, in µs since 1970: it is made
	// with the state and lost with it. Positions and histories of an epoch that
	// has passed are as good as absent.
	epochField = "epoch"
	// historyTTL outlives the longest window's base by four days.
	historyTTL = 65 * 24 * time.Hour
	// chunk bounds one pipeline to Redis.
	chunk = 500
)

// historyKey carries a hash tag, so that it may live on any node of a cluster.
func historyKey(repo int64) string {
	return "github:pipeline:history:{" + strconv.FormatInt(repo, 10) + "}"
}

// replaceScript writes a history only over the version it was computed from. A
// zombie that wakes up after its successor has gone on writes nothing.
const replaceScript = `
local head = redis.call('GETRANGE', KEYS[1], 0, 7)
if head ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1`

// advanceScript writes positions only in the epoch of the histories that they
// stand for: a Redis that was emptied in between has neither.
const advanceScript = `
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1`

// rebuildingField, under the topic's id, says until when, in ms since 1970,
// somebody fills the state from an archive. Nobody else may use it then: what
// only the archive has would be missing. Whoever fills it sets the time anew as
// long as it is alive.
const rebuildingField = "/rebuilding"

// errMoved: the histories in Redis are not those that this process left there.
var errMoved = errors.New("the state in Redis is not where this process left it")

// memory is the histories in Redis.
type memory struct {
	redis   redis.UniversalClient
	schema  avro.Schema
	replace *redis.Script
	advance *redis.Script
	epoch   uint64 // of the state, when it was opened
	fills   bool   // it is this process that fills the state from an archive
}

func newMemory(address string) (*memory, error) {
	schema, err := avro.ParseWithCache(historySchema, "", &avro.SchemaCache{})
	if err != nil {
		return nil, fmt.Errorf("parse the schema of a history: %w", err)
	}
	rdb, err := redisclient.New(address)
	if err != nil {
		return nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	return &memory{redis: rdb, schema: schema, replace: redis.NewScript(replaceScript), advance: redis.NewScript(advanceScript)}, nil
}

// open checks that Redis keeps what it is given and holds nothing of another
// topic.
func (m *memory) open(ctx context.Context, topicID string) error {
	if err := redisclient.EachMaster(ctx, m.redis, checkKeeping); err != nil {
		return err
	}
	fields, err := m.redis.HKeys(ctx, stateKey).Result()
	if err != nil {
		return fmt.Errorf("read %s: %w", stateKey, err)
	}
	for _, f := range fields {
		if f != epochField && !strings.HasPrefix(f, topicID+"/") {
			return fmt.Errorf("%w: redis holds the state of topic id %s, but the broker's %s has id %s: the topic was made again; flush this Redis to rebuild the state from Kafka",
				kafka.ErrFatal, f, event.TopicBaseRepos, topicID)
		}
	}
	if err := m.filled(ctx, topicID); err != nil {
		return err
	}
	if err := m.redis.HSetNX(ctx, stateKey, epochField, time.Now().UnixMicro()).Err(); err != nil {
		return fmt.Errorf("begin %s: %w", stateKey, err)
	}
	if m.epoch, err = m.redis.HGet(ctx, stateKey, epochField).Uint64(); err != nil {
		return fmt.Errorf("read %s %s: %w", stateKey, epochField, err)
	}
	return nil
}

// checkKeeping refuses a server that evicts keys, and warns of one that forgets
// when it is restarted: nothing would be lost, but all histories would have to
// be read from Kafka again. A server that does not tell its configuration is
// taken at its word.
func checkKeeping(ctx context.Context, server redis.UniversalClient) error {
	config := map[string]string{}
	for _, name := range []string{"maxmemory-policy", "appendonly", "save"} {
		got, err := server.ConfigGet(ctx, name).Result()
		if v, ok := got[name]; err == nil && ok {
			config[name] = v
		}
	}
	if p, ok := config["maxmemory-policy"]; ok && p != "noeviction" {
		return fmt.Errorf("%w: redis evicts keys (maxmemory-policy %s): set it to noeviction", kafka.ErrFatal, p)
	}
	appendonly, known := config["appendonly"]
	save, alsoKnown := config["save"]
	if known && alsoKnown && appendonly != "yes" && save == "" {
		slog.WarnContext(ctx, "redis does not persist: after its restart the state is rebuilt from Kafka", "appendonly", appendonly, "save", save)
	}
	return nil
}

// renew begins a new epoch: from now on there is no state. It is one write, so
// it is whole or not done, and whoever works on the old epoch notices.
func (m *memory) renew(ctx context.Context) error {
	begun := max(m.epoch+1, uint64(time.Now().UnixMicro()))
	if err := m.redis.HSet(ctx, stateKey, epochField, begun).Err(); err != nil {
		return fmt.Errorf("begin the state anew: %w", err)
	}
	return nil
}

// positions returns up to where the histories of a partition have been brought,
// or 0 when there is no valid history.
func (m *memory) positions(ctx context.Context, topicID string, partitions []int32) (map[int32]int64, error) {
	fields := make([]string, len(partitions))
	for i, p := range partitions {
		fields[i] = m.stateField(topicID, p)
	}
	values, err := m.redis.HMGet(ctx, stateKey, append(fields, epochField)...).Result()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stateKey, err)
	}
	epoch, _ := values[len(fields)].(string)
	if err := m.same(epoch); err != nil {
		return nil, err
	}
	at := map[int32]int64{}
	for i, v := range values[:len(fields)] {
		if s, ok := v.(string); ok {
			if at[partitions[i]], err = strconv.ParseInt(s, 10, 64); err != nil {
				return nil, fmt.Errorf("read %s %s: %w", stateKey, fields[i], err)
			}
		}
	}
	return at, nil
}

// filled says whether the state may be used: nobody else is filling it.
func (m *memory) filled(ctx context.Context, topicID string) error {
	until, err := m.redis.HGet(ctx, stateKey, topicID+rebuildingField).Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("read %s: %w", stateKey, err)
	}
	if wait := time.Until(time.UnixMilli(until)); !m.fills && wait > 0 {
		return fmt.Errorf("the state is being rebuilt from an archive; whoever does it is taken for dead after %s of silence", wait.Round(time.Second))
	}
	return nil
}

// fill says that this process fills the state, for some time from now on.
func (m *memory) fill(ctx context.Context, topicID string, limit time.Duration) error {
	m.fills = true
	if err := m.redis.HSet(ctx, stateKey, topicID+rebuildingField, time.Now().Add(limit).UnixMilli()).Err(); err != nil {
		return fmt.Errorf("write %s: %w", stateKey, err)
	}
	return nil
}

// give says that the state is filled.
func (m *memory) give(ctx context.Context, topicID string) error {
	m.fills = false
	if err := m.redis.HDel(ctx, stateKey, topicID+rebuildingField).Err(); err != nil {
		return fmt.Errorf("write %s: %w", stateKey, err)
	}
	return nil
}

// same says whether the state is still in the epoch in which it was opened.
func (m *memory) same(epoch string) error {
	if epoch != strconv.FormatUint(m.epoch, 10) {
		return fmt.Errorf("%w: it was of epoch %d, and is of %q: begun anew, or lost", errMoved, m.epoch, epoch)
	}
	return nil
}

// stateField names the position of a partition, in this form and epoch.
func (m *memory) stateField(topicID string, partition int32) string {
	return fmt.Sprintf("%s/%d/%d.%d", topicID, partition, form, m.epoch)
}

// load reads the histories of some repositories; one without any is empty.
func (m *memory) load(ctx context.Context, repos []int64) (map[int64]*history, error) {
	out := make(map[int64]*history, len(repos))
	for len(repos) > 0 {
		n := min(chunk, len(repos))
		reads := make([]*redis.StringCmd, n)
		_, err := m.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, id := range repos[:n] {
				reads[i] = p.Get(ctx, historyKey(id))
			}
			return nil
		})
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, fmt.Errorf("read %d histories: %w", n, err)
		}
		for i, id := range repos[:n] {
			b, err := reads[i].Bytes()
			if errors.Is(err, redis.Nil) {
				out[id] = &history{}
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", historyKey(id), err)
			}
			if out[id], err = m.decode(b); err != nil {
				return nil, fmt.Errorf("read %s: %w", historyKey(id), err)
			}
		}
		repos = repos[n:]
	}
	if len(out) == 0 {
		return out, nil
	}
	// What is absent is a first sight only if Redis has not been emptied.
	epoch, err := m.redis.HGet(ctx, stateKey, epochField).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("read %s %s: %w", stateKey, epochField, err)
	}
	return out, m.same(epoch)
}

// decode reads a history. One of another form or of an epoch that has passed is
// as good as absent, and is overwritten. One of a later epoch says that this
// process is late.
func (m *memory) decode(b []byte) (*history, error) {
	if len(b) < 10 {
		return nil, fmt.Errorf("%d bytes are no history", len(b))
	}
	h := &history{stored: binary.BigEndian.Uint64(b)}
	if b[8] != form {
		return h, nil
	}
	epoch, n := binary.Uvarint(b[9:])
	switch {
	case n <= 0:
		return nil, errors.New("it is of no epoch")
	case epoch > m.epoch:
		return nil, fmt.Errorf("%w: it is of epoch %d, not %d: begun anew", errMoved, epoch, m.epoch)
	case epoch < m.epoch:
		return h, nil
	}
	if err := avro.Unmarshal(m.schema, b[9+n:], h); err != nil {
		return nil, err
	}
	var err error
	h.points, err = velocity.Unpack(h.Points)
	return h, err
}

// encode is what decode reads: the version, the form, the epoch, and the rest.
func (m *memory) encode(h *history) ([]byte, error) {
	h.Points = h.points.Pack(nil)
	body, err := avro.Marshal(m.schema, h)
	h.Points = nil
	head := append(binary.BigEndian.AppendUint64(nil, h.stored+1), form)
	return append(binary.AppendUvarint(head, m.epoch), body...), err
}

// save writes histories, each over the version it was read at, and then the
// positions they stand for. It answers errMoved when another process was faster.
func (m *memory) save(ctx context.Context, topicID string, histories map[int64]*history, next map[int32]int64) error {
	for ids := range slices.Chunk(slices.Collect(maps.Keys(histories)), chunk) {
		unknown, err := m.write(ctx, histories, ids, m.replace.EvalSha)
		if err == nil && len(unknown) > 0 { // Redis was restarted, or another node has taken over
			_, err = m.write(ctx, histories, unknown, m.replace.Eval)
		}
		if err != nil {
			return err
		}
	}
	fields := make([]any, 0, 2+2*len(next))
	fields = append(fields, epochField, m.epoch)
	for p, at := range next {
		fields = append(fields, m.stateField(topicID, p), at)
	}
	done, err := m.advance.Run(ctx, m.redis, []string{stateKey}, fields...).Int()
	if err == nil && done != 1 {
		err = errMoved
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", stateKey, err)
	}
	return nil
}

// write writes some histories in one pipeline. It returns those for which the
// server did not know the script, and did nothing.
func (m *memory) write(ctx context.Context, histories map[int64]*history, ids []int64,
	run func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd) (unknown []int64, err error) {
	writes := make([]*redis.Cmd, len(ids))
	_, err = m.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			h := histories[id]
			value, err := m.encode(h)
			if err != nil {
				return fmt.Errorf("encode %s: %w", historyKey(id), err)
			}
			var was string
			if h.stored > 0 {
				was = string(binary.BigEndian.AppendUint64(nil, h.stored))
			}
			writes[i] = run(ctx, p, []string{historyKey(id)}, was, value, int(historyTTL.Seconds()))
		}
		return nil
	})
	if err != nil && !redis.HasErrorPrefix(err, "NOSCRIPT") {
		return nil, fmt.Errorf("write %d histories: %w", len(ids), err)
	}
	for i, id := range ids {
		done, err := writes[i].Int()
		switch {
		case redis.HasErrorPrefix(err, "NOSCRIPT"):
			unknown = append(unknown, id)
		case err != nil:
			return nil, fmt.Errorf("write %s: %w", historyKey(id), err)
		case done != 1:
			return nil, fmt.Errorf("write %s: %w", historyKey(id), errMoved)
		default:
			histories[id].stored++
		}
	}
	return unknown, nil
}
