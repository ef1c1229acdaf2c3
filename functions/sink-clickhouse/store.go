package sinkclickhouse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	sharedclickhouse "github.com/m7pulse/m7pulse/shared/clickhouse"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/trace"
)

// arrivalLimit is how long an insert into the time series may be on its way. The
// table refuses one that arrives later, by ClickHouse's clock.
const arrivalLimit = 5 * time.Second

// insertLimit is the longest that ClickHouse may work on one insert.
const insertLimit = 10 * time.Second

// answerLimit is how long the function waits for an answer: what it asks is
// bounded, an insert by insertLimit.
const answerLimit = 30 * time.Second

// store is the hot store: how rows and markers get into ClickHouse, and what it
// says of those that are there.
type store struct {
	conn driver.Conn

	mu    sync.Mutex
	ready bool // the schema is there and the server's zone is UTC
	clock clock
}

// clock is ClickHouse's clock, as it was read.
type clock struct{ server, read time.Time }

// now is not later than what ClickHouse's clock shows now.
func (c clock) now() time.Time { return c.server.Add(time.Since(c.read)) }

// newStore returns a store at http://user:password@host:port,
// https://user:password@host:port or clickhouse://user:password@host:port, the
// last with ?secure=true for TLS. It does not connect yet. An answer is waited for as
// long as patience.
func newStore(address string, patience time.Duration) (*store, error) {
	opts, err := optionsOf(address)
	if err != nil {
		return nil, fmt.Errorf("invalid CLICKHOUSE_URL: %w", err)
	}
	opts.ReadTimeout = patience
	conn, err := clickhouse.Open(opts)
	if err != nil {
		return nil, fmt.Errorf("CLICKHOUSE_URL: %w", err)
	}
	return &store{conn: conn}, nil
}

func optionsOf(at string) (*clickhouse.Options, error) {
	opts, err := sharedclickhouse.Options(at)
	if err != nil {
		return nil, err
	}
	opts.Settings = clickhouse.Settings{
		"max_execution_time": int(insertLimit.Seconds()),
		// A block must be inserted whole, when it is sent.
		"async_insert": 0, "max_insert_block_size": 1_048_576,
		// Insertions are cut by months, see insertByMonth; those of a migration need not
		// be.
		"max_partitions_per_insert_block": 0,
		// A block has next to no rows that replace each other: merges find them.
		"optimize_on_insert": 0,
	}
	return opts, nil
}

// prepare makes the schema, once, and refuses a server whose zone is not UTC:
// its days would not be ours.
func (s *store) prepare(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready {
		return nil
	}
	var zone string
	if err := s.conn.QueryRow(ctx, "SELECT timezone()").Scan(&zone); err != nil {
		return fmt.Errorf("ask clickhouse for its time zone: %w", err)
	}
	if zone != "UTC" && zone != "Etc/UTC" {
		return fmt.Errorf("%w: clickhouse runs in time zone %s: set it to UTC", kafka.ErrFatal, zone)
	}
	if err := migrate(ctx, s.conn); err != nil {
		return err
	}
	s.ready = true
	return nil
}

// recheckServer has the next prepare check the server again: it may be another.
func (s *store) recheckServer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = false
}

// marks reads up to where each partition of a topic is stored.
func (s *store) marks(ctx context.Context, topic string) ([]kafka.Mark, error) {
	rows, err := s.conn.Query(ctx, `SELECT topic_id, partition, max(to_offset) FROM pulse.sink_commits WHERE topic = ? GROUP BY topic_id, partition`, topic)
	if err != nil {
		return nil, fmt.Errorf("read the markers of %s: %w", topic, err)
	}
	defer rows.Close()
	var out []kafka.Mark
	for rows.Next() {
		var m kafka.Mark
		var next uint64
		if err := rows.Scan(&m.TopicID, &m.Partition, &next); err != nil {
			return nil, fmt.Errorf("read the markers of %s: %w", topic, err)
		}
		m.Next = int64(next)
		out = append(out, m)
	}
	return out, rows.Err()
}

// errSetBack: the store's markers are behind what they were.
var errSetBack = errors.New("the store was emptied, recreated or restored")

// readClock reads the clock of the server.
func (s *store) readClock(ctx context.Context) error {
	var c clock
	if err := s.conn.QueryRow(ctx, "SELECT now64(3)").Scan(&c.server); err != nil {
		return fmt.Errorf("read clickhouse's clock: %w", err)
	}
	c.read = time.Now() // after the answer: what the answer took makes now earlier, never later
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = c
	return nil
}

// arrival has the time series refuse rows that arrive too late. It is taken when
// a row is put into an insert, which is sent at once then.
func (s *store) arrival() column[row] { return arrival[row](s) }

func arrival[R any](s *store) column[R] {
	return col("insert_before", func(*R) time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.clock.now().Add(arrivalLimit)
	})
}

// checkMarkers checks that the markers of a topic are those that this process last saw or
// wrote, or beyond them. A store that was emptied beneath a running process must be
// filled from the beginning, not from the current block.
func (s *store) checkMarkers(ctx context.Context, topic string, seen []kafka.Mark) error {
	if len(seen) == 0 {
		return nil
	}
	marks, err := s.marks(ctx, topic)
	if err != nil {
		return err
	}
	if lost := missing(marks, seen); len(lost) > 0 {
		return fmt.Errorf("%w: of topic %s it had %+v", errSetBack, topic, lost)
	}
	return nil
}

// missing are those of the marks seen before that are no longer reached.
func missing(now, seen []kafka.Mark) (lost []kafka.Mark) {
	for _, m := range seen {
		if !slices.ContainsFunc(now, func(n kafka.Mark) bool {
			return n.TopicID == m.TopicID && n.Partition == m.Partition && n.Next >= m.Next
		}) {
			lost = append(lost, m)
		}
	}
	return lost
}

// advance is what marks become with a block.
func advance(marks []kafka.Mark, topicID string, next kafka.Offsets) (out []kafka.Mark) {
	for p, n := range next {
		out = append(out, kafka.Mark{TopicID: topicID, Partition: p.Number, Next: n})
	}
	for _, m := range marks {
		if !slices.ContainsFunc(out, func(o kafka.Mark) bool { return o.Partition == m.Partition }) {
			out = append(out, m)
		}
	}
	return out
}

// position is where a record is in its topic.
type position struct {
	partition int32
	offset    int64
}

// rowsBeyondMarkers lists the records of our partitions that are in the time series though
// no marker covers them: a writer died between the two.
func (s *store) rowsBeyondMarkers(ctx context.Context, topicID string, marks []kafka.Mark, partitions []int32) (map[position]bool, error) {
	next := map[int32]int64{}
	for _, m := range marks {
		next[m.Partition] = m.Next
	}
	// A partition that has no marker has no row either, or all of its rows are
	// beyond. The least offset of all is what the index can use.
	var each []string
	least := int64(math.MaxInt64)
	for _, p := range partitions {
		each, least = append(each, fmt.Sprintf("origin_partition = %d AND origin_offset >= %d", p, next[p])), min(least, next[p])
	}
	out := map[position]bool{}
	if len(each) == 0 {
		return out, nil
	}
	rows, err := s.conn.Query(ctx, `SELECT origin_partition, origin_offset FROM pulse.github_metrics_timeseries
		WHERE origin_topic_id = ? AND origin_offset >= ? AND (`+strings.Join(each, " OR ")+`)`, topicID, least)
	if err != nil {
		return nil, fmt.Errorf("look for rows beyond the markers: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var p position
		if err := rows.Scan(&p.partition, &p.offset); err != nil {
			return nil, fmt.Errorf("look for rows beyond the markers: %w", err)
		}
		out[p] = true
	}
	return out, rows.Err()
}

// lookupChunk bounds the keys of one look-up: ClickHouse takes at most 256 KiB
// of query text.
const lookupChunk = 2_000

// known says which of the keys are in the time series already.
func (s *store) known(ctx context.Context, keys []repo.Key) (map[repo.Key]bool, error) {
	out := map[repo.Key]bool{}
	for _, some := range lookups(keys) {
		if err := s.lookup(ctx, some, out); err != nil {
			return nil, fmt.Errorf("look up %d keys: %w", len(some), err)
		}
	}
	return out, nil
}

// lookups divides keys into look-ups, each within one month, by which the time
// series is partitioned: one old key among those of today must not have the months
// between searched for all of them.
func lookups(keys []repo.Key) [][]repo.Key {
	return lookupsBy(keys, func(k repo.Key) int64 { return k.ObservedAt })
}

// lookupsBy is lookups of keys whose times, in ms since 1970, at returns.
func lookupsBy[K any](keys []K, at func(K) int64) (out [][]K) {
	keys = slices.SortedFunc(slices.Values(keys), func(a, b K) int { return cmp.Compare(at(a), at(b)) })
	month := func(k K) int {
		at := time.UnixMilli(at(k)).UTC()
		return 12*at.Year() + int(at.Month())
	}
	for i, k := range keys {
		if last := len(out) - 1; i > 0 && month(k) == month(keys[i-1]) && len(out[last]) < lookupChunk {
			out[last] = append(out[last], k)
			continue
		}
		out = append(out, []K{k})
	}
	return out
}

// lookup asks for exact keys, and for their repositories and range of time
// besides, by which ClickHouse can use its index.
func (s *store) lookup(ctx context.Context, keys []repo.Key, found map[repo.Key]bool) error {
	from, to := keys[0].ObservedAt, keys[0].ObservedAt
	ids := map[int64]bool{}
	var repos, pairs []string
	for _, k := range keys {
		from, to = min(from, k.ObservedAt), max(to, k.ObservedAt)
		pairs = append(pairs, fmt.Sprintf("(%d,%d)", k.ID, k.ObservedAt))
		if !ids[k.ID] {
			ids[k.ID] = true
			repos = append(repos, strconv.FormatInt(k.ID, 10))
		}
	}
	rows, err := s.conn.Query(ctx, `SELECT repo_id, toUnixTimestamp64Milli(observed_at) FROM pulse.github_metrics_timeseries
		WHERE repo_id IN (`+strings.Join(repos, ",")+`)
		AND observed_at BETWEEN fromUnixTimestamp64Milli(?) AND fromUnixTimestamp64Milli(?)
		AND (repo_id, toUnixTimestamp64Milli(observed_at)) IN (`+strings.Join(pairs, ",")+`)`, from, to)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var k repo.Key
		if err := rows.Scan(&k.ID, &k.ObservedAt); err != nil {
			return err
		}
		found[k] = true
	}
	return rows.Err()
}

// cacheRows is how many rows are turned into columns at a time: few enough to
// stay in the processor's cache from one column to the next.
const cacheRows = 128

// insert adds rows to a table in one block.
func insert[R any](ctx context.Context, s *store, table string, columns []column[R], rows []*R) (err error) {
	if len(rows) == 0 {
		return nil
	}
	ctx, span := trace.Start(ctx, trace.Client, "INSERT "+table, "db.system.name", "clickhouse", "db.collection.name", table, "db.operation.batch.size", len(rows))
	defer func() { span.End(err) }()
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	batch, err := s.conn.PrepareBatch(ctx, "INSERT INTO "+table+" ("+strings.Join(names, ", ")+")")
	if err != nil {
		return fmt.Errorf("prepare an insert into %s: %w", table, err)
	}
	defer batch.Close()
	into := make([]driver.BatchColumn, len(columns))
	for i := range columns {
		into[i] = batch.Column(i)
	}
	for some := range slices.Chunk(rows, cacheRows) {
		for i, c := range columns {
			if err := c.append(into[i], some); err != nil {
				return fmt.Errorf("insert into %s, column %s: %w", table, c.name, err)
			}
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("insert %d rows into %s: %w", len(rows), table, err)
	}
	return nil
}

// maxMonths is how many months one insert may be of. Each is a partition, for which
// ClickHouse writes a part: that takes 6 ms on a small machine, and an insert has
// 10 s.
const maxMonths = 200

// insertByMonth adds rows to a table whose partitions are the months of a time. A
// block is atomic within one partition only, so nothing is lost by several inserts.
func insertByMonth[R any](ctx context.Context, s *store, table string, columns []column[R], rows []*R, at func(*R) time.Time) error {
	for _, some := range byMonths(rows, at) {
		if err := insert(ctx, s, table, columns, some); err != nil {
			return err
		}
	}
	return nil
}

// byMonths cuts rows into groups of at most maxMonths months each.
func byMonths[R any](rows []*R, at func(*R) time.Time) (groups [][]*R) {
	months := map[int][]*R{}
	for _, r := range rows {
		year, month, _ := at(r).UTC().Date()
		n := 12*year + int(month)
		months[n] = append(months[n], r)
	}
	if len(months) <= maxMonths {
		return [][]*R{rows}
	}
	for some := range slices.Chunk(slices.Sorted(maps.Keys(months)), maxMonths) {
		var group []*R
		for _, m := range some {
			group = append(group, months[m]...)
		}
		groups = append(groups, group)
	}
	return groups
}

// commit writes the markers of a block: from now on it is stored. seen are the
// topic's markers as this process last saw them, and it returns what they are now.
func (s *store) commit(ctx context.Context, topic, topicID string, b kafka.Block, seen []kafka.Mark) ([]kafka.Mark, error) {
	if err := s.checkMarkers(ctx, topic, seen); err != nil {
		return seen, err
	}
	var rows []*marker
	for p, next := range b.Next {
		rows = append(rows, &marker{topic, topicID, p.Number, b.First[p], next})
	}
	if err := s.mark(ctx, "pulse.sink_commits", rows); err != nil {
		return seen, err
	}
	return advance(seen, topicID, b.Next), nil
}

// marker says that the records of a partition are stored from one offset up to
// another.
type marker struct {
	topic, topicID string
	partition      int32
	from, to       int64
}

func (s *store) mark(ctx context.Context, table string, markers []*marker) error {
	at := time.Now().UTC()
	return insert(ctx, s, table, []column[marker]{
		col("topic", func(m *marker) string { return m.topic }),
		col("topic_id", func(m *marker) string { return m.topicID }),
		col("partition", func(m *marker) int32 { return m.partition }),
		col("from_offset", func(m *marker) uint64 { return uint64(m.from) }),
		col("to_offset", func(m *marker) uint64 { return uint64(m.to) }),
		col("rows", func(m *marker) uint64 { return uint64(m.to - m.from) }),
		col("committed_at", func(*marker) time.Time { return at }),
	}, markers)
}
