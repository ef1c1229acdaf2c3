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
	"github.com/m7pulse/m7pulse/shared/trace"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// history is what Redis keeps of one repository, at most 12 KB: its thinned
// points, its newest observation, and how far into Kafka it has been brought.
type history struct {
	Known   int64     `avro:"known"`   // distinct observations seen so far: the next revision less one
	Applied []applied `avro:"applied"` // by partition; more than one only after the topic was widened
	Points  []byte    `avro:"points"`  // packed; while the history is being worked on, see points
	Newest  []byte    `avro:"newest"`  // the newest observation, as it stood in Kafka

	points velocity.History
	stored uint64 // the version in Redis that this was read at; 0 = absent
	home   int32  // the partition that it was last changed from
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
	// encodingVersion is that of the histories that this version writes. State of
	// another version is rebuilt from Kafka.
	encodingVersion = 2
	// epochField says when the state was begun, in µs since 1970: it is made
	// with the state and lost with it. Positions and histories of an epoch that
	// has passed are treated as absent.
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

// rebuildingField, under the topic's id, is until when, in ms since 1970, a
// process is rebuilding the state from an archive. No other may use the state
// until then: what only the archive has would be missing. The process that
// rebuilds renews the time as long as it is alive.
const rebuildingField = "/rebuilding"

// errChangedElsewhere: the histories in Redis are not those that this process left there.
var errChangedElsewhere = errors.New("the history store was changed by another process")

// historyStore is the histories in Redis.
type historyStore struct {
	redis      redis.UniversalClient
	schema     avro.Schema
	replace    *redis.Script
	advance    *redis.Script
	epoch      uint64 // of the state, when it was opened
	rebuilding bool   // this process rebuilds the state from an archive
}

func newHistoryStore(address string) (*historyStore, error) {
	schema, err := avro.ParseWithCache(historySchema, "", &avro.SchemaCache{})
	if err != nil {
		return nil, fmt.Errorf("parse the schema of a history: %w", err)
	}
	rdb, err := redisclient.New(address)
	if err != nil {
		return nil, fmt.Errorf("invalid REDIS_URL: %w", err)
	}
	return &historyStore{redis: rdb, schema: schema, replace: redis.NewScript(replaceScript), advance: redis.NewScript(advanceScript)}, nil
}

// open checks that Redis keeps what it is given and holds nothing of another
// topic.
func (s *historyStore) open(ctx context.Context, topicID string) error {
	if err := redisclient.EachMaster(ctx, s.redis, checkPersistence); err != nil {
		return err
	}
	fields, err := s.redis.HKeys(ctx, stateKey).Result()
	if err != nil {
		return fmt.Errorf("read %s: %w", stateKey, err)
	}
	for _, f := range fields {
		if f != epochField && !strings.HasPrefix(f, topicID+"/") {
			return fmt.Errorf("%w: redis holds the state of topic id %s, but the broker's %s has id %s: the topic was recreated; flush this Redis to rebuild the state from Kafka",
				kafka.ErrFatal, f, event.TopicBaseRepos, topicID)
		}
	}
	if err := s.checkRebuilding(ctx, topicID); err != nil {
		return err
	}
	if err := s.redis.HSetNX(ctx, stateKey, epochField, time.Now().UnixMicro()).Err(); err != nil {
		return fmt.Errorf("begin %s: %w", stateKey, err)
	}
	if s.epoch, err = s.redis.HGet(ctx, stateKey, epochField).Uint64(); err != nil {
		return fmt.Errorf("read %s %s: %w", stateKey, epochField, err)
	}
	return nil
}

// checkPersistence refuses a server that evicts keys, and warns of one that does
// not persist: nothing would be lost by its restart, but all histories would have
// to be read from Kafka again. A server that does not show its configuration is
// trusted.
func checkPersistence(ctx context.Context, server redis.UniversalClient) error {
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
		slog.WarnContext(ctx, "redis does not persist: after its restart the history store is rebuilt from Kafka", "appendonly", appendonly, "save", save)
	}
	return nil
}

// beginEpoch begins a new epoch: from now on there is no state. It is one write,
// so it is done as a whole or not at all, and a process that works on the old
// epoch notices.
func (s *historyStore) beginEpoch(ctx context.Context) error {
	begun := max(s.epoch+1, uint64(time.Now().UnixMicro()))
	if err := s.redis.HSet(ctx, stateKey, epochField, begun).Err(); err != nil {
		return fmt.Errorf("begin a new epoch: %w", err)
	}
	return nil
}

// positions returns up to where the histories of a partition have been brought,
// or 0 when there is no valid history.
func (s *historyStore) positions(ctx context.Context, topicID string, partitions []int32) (map[int32]int64, error) {
	fields := make([]string, len(partitions))
	for i, p := range partitions {
		fields[i] = s.stateField(topicID, p)
	}
	values, err := s.redis.HMGet(ctx, stateKey, append(fields, epochField)...).Result()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stateKey, err)
	}
	epoch, _ := values[len(fields)].(string)
	if err := s.checkEpoch(epoch); err != nil {
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

// checkRebuilding errs while another process is rebuilding the state.
func (s *historyStore) checkRebuilding(ctx context.Context, topicID string) error {
	until, err := s.redis.HGet(ctx, stateKey, topicID+rebuildingField).Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("read %s: %w", stateKey, err)
	}
	if wait := time.Until(time.UnixMilli(until)); !s.rebuilding && wait > 0 {
		return fmt.Errorf("the history store is being rebuilt from an archive, by a process whose claim expires in %s", wait.Round(time.Second))
	}
	return nil
}

// markRebuilding claims the rebuilding of the state for this process, until limit
// has passed.
func (s *historyStore) markRebuilding(ctx context.Context, topicID string, limit time.Duration) error {
	s.rebuilding = true
	if err := s.redis.HSet(ctx, stateKey, topicID+rebuildingField, time.Now().Add(limit).UnixMilli()).Err(); err != nil {
		return fmt.Errorf("write %s: %w", stateKey, err)
	}
	return nil
}

// clearRebuilding ends the claim: the state is complete.
func (s *historyStore) clearRebuilding(ctx context.Context, topicID string) error {
	s.rebuilding = false
	if err := s.redis.HDel(ctx, stateKey, topicID+rebuildingField).Err(); err != nil {
		return fmt.Errorf("write %s: %w", stateKey, err)
	}
	return nil
}

// checkEpoch errs when the state has another epoch than when it was opened.
func (s *historyStore) checkEpoch(epoch string) error {
	if epoch != strconv.FormatUint(s.epoch, 10) {
		return fmt.Errorf("%w: its epoch is %q, not %d: it was begun again, or lost", errChangedElsewhere, epoch, s.epoch)
	}
	return nil
}

// stateField names the position of a partition, in this encoding and epoch.
func (s *historyStore) stateField(topicID string, partition int32) string {
	return fmt.Sprintf("%s/%d/%d.%d", topicID, partition, encodingVersion, s.epoch)
}

// load reads the histories of some repositories; one without any is empty.
func (s *historyStore) load(ctx context.Context, repos []int64) (_ map[int64]*history, err error) {
	ctx, span := trace.Start(ctx, trace.Client, "read histories", "db.system.name", "redis", "db.operation.batch.size", len(repos))
	defer func() { span.End(err) }()
	out := make(map[int64]*history, len(repos))
	for len(repos) > 0 {
		n := min(chunk, len(repos))
		reads := make([]*redis.StringCmd, n)
		_, err := s.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
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
			if out[id], err = s.decode(b); err != nil {
				return nil, fmt.Errorf("read %s: %w", historyKey(id), err)
			}
		}
		repos = repos[n:]
	}
	if len(out) == 0 {
		return out, nil
	}
	// An absent history means a new repository only if Redis has not been emptied.
	epoch, err := s.redis.HGet(ctx, stateKey, epochField).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("read %s %s: %w", stateKey, epochField, err)
	}
	return out, s.checkEpoch(epoch)
}

// decode reads a history. One of another encoding or of an epoch that has passed
// is treated as absent, and overwritten. One of a later epoch shows that this
// process is outdated.
func (s *historyStore) decode(b []byte) (*history, error) {
	if len(b) < 10 {
		return nil, fmt.Errorf("decode a history: %d bytes are too few", len(b))
	}
	h := &history{stored: binary.BigEndian.Uint64(b)}
	if b[8] != encodingVersion {
		return h, nil
	}
	epoch, n := binary.Uvarint(b[9:])
	switch {
	case n <= 0:
		return nil, errors.New("decode a history: no epoch")
	case epoch > s.epoch:
		return nil, fmt.Errorf("%w: a history is of epoch %d, not %d", errChangedElsewhere, epoch, s.epoch)
	case epoch < s.epoch:
		return h, nil
	}
	if err := avro.Unmarshal(s.schema, b[9+n:], h); err != nil {
		return nil, err
	}
	var err error
	h.points, err = velocity.Unpack(h.Points)
	return h, err
}

// encode is what decode reads: the version, the encoding's version, the epoch, and
// the rest.
func (s *historyStore) encode(h *history) ([]byte, error) {
	h.Points = h.points.Pack(nil)
	body, err := avro.Marshal(s.schema, h)
	h.Points = nil
	head := append(binary.BigEndian.AppendUint64(nil, h.stored+1), encodingVersion)
	return append(binary.AppendUvarint(head, s.epoch), body...), err
}

// save writes histories, each over the version it was read at, and then the
// positions they stand for. It returns errChangedElsewhere when another process
// was faster.
func (s *historyStore) save(ctx context.Context, topicID string, histories map[int64]*history, next map[int32]int64) (err error) {
	ctx, span := trace.Start(ctx, trace.Client, "write histories", "db.system.name", "redis", "db.operation.batch.size", len(histories))
	defer func() { span.End(err) }()
	for ids := range slices.Chunk(slices.Collect(maps.Keys(histories)), chunk) {
		unknown, err := s.write(ctx, histories, ids, s.replace.EvalSha)
		if err == nil && len(unknown) > 0 { // Redis was restarted, or another node has taken over
			_, err = s.write(ctx, histories, unknown, s.replace.Eval)
		}
		if err != nil {
			return err
		}
	}
	fields := make([]any, 0, 2+2*len(next))
	fields = append(fields, epochField, s.epoch)
	for p, at := range next {
		fields = append(fields, s.stateField(topicID, p), at)
	}
	done, err := s.advance.Run(ctx, s.redis, []string{stateKey}, fields...).Int()
	if err == nil && done != 1 {
		err = errChangedElsewhere
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", stateKey, err)
	}
	return nil
}

// write writes some histories in one pipeline. It returns those for which the
// server did not know the script, and did nothing.
func (s *historyStore) write(ctx context.Context, histories map[int64]*history, ids []int64,
	run func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd) (unknown []int64, err error) {
	writes := make([]*redis.Cmd, len(ids))
	_, err = s.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			h := histories[id]
			value, err := s.encode(h)
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
			return nil, fmt.Errorf("write %s: %w", historyKey(id), errChangedElsewhere)
		default:
			histories[id].stored++
		}
	}
	return unknown, nil
}
