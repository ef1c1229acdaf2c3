package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var broken = flag.Bool("chaos.broken", false, "also hold the suite against programs in which a promise is broken")

// breach is a promise broken on purpose: a function's program built with some
// lines of its source replaced, and the faults or the scenario under which it must
// show.
type breach struct {
	name     string
	file     string
	old      []string // each is there once, or the breach is out of date
	new      []string
	faults   string   // those of the suite's faults that are thrown, by a regular expression; "" for none
	scenario scenario // thrown in place of rounds of faults; nil for those
}

// scenario brings a pipeline up with the programs of a folder, attacks it in one
// way, and returns what is wrong then.
type scenario func(ctx context.Context, t *testing.T, programs string) []error

var breaches = []breach{
	{
		name: "marker before rows", file: "functions/sink-clickhouse/sink.go",
		old:    []string{"		if err := r.add(ctx, \"pulse.\", rows, series); err != nil {\n"},
		new:    []string{"		if _, err := r.commit(ctx, event.TopicProcessedRepos, topicID, b, r.marked); err != nil {\n			return err\n		}\n		if err := r.add(ctx, \"pulse.\", rows, series); err != nil {\n"},
		faults: "^kill -9 (before|after) (state|series) rows",
	},
	{
		name: "marker before state", file: "functions/sink-clickhouse/sink.go",
		old:    []string{"		if err := r.insertState(ctx, \"pulse.\", r.pending); err != nil {\n"},
		new:    []string{"		if _, err := r.commit(ctx, event.TopicProcessedRepos, topicID, r.pending.block, r.marked); err != nil {\n			return err\n		}\n		if err := r.insertState(ctx, \"pulse.\", r.pending); err != nil {\n"},
		faults: "^kill -9 before state rows|^bulk job beside it: sink-clickhouse",
	},
	{
		name: "rows beyond the marker are not looked for", file: "functions/sink-clickhouse/sink.go",
		old:    []string{"		if r.present, err = r.rowsBeyondMarkers(ctx, topicID, r.marked, r.partitions); err != nil {\n"},
		new:    []string{"		if _, err = r.rowsBeyondMarkers(ctx, topicID, r.marked, r.partitions); err != nil {\n"},
		faults: "^kill -9 (after series rows|(before|after) the marker)",
	},
	{
		name: "lease ignored", file: "functions/sink-clickhouse/writer.go",
		old: []string{
			"func (w *writer) acquireAll(ctx context.Context, partitions []int32) error {\n",
			"func (w *writer) fence(ctx context.Context) (context.Context, context.CancelFunc, error) {\n",
		},
		new: []string{
			"func (w *writer) acquireAll(ctx context.Context, partitions []int32) error {\n	if ctx != nil {\n		return nil\n	}\n",
			"func (w *writer) fence(ctx context.Context) (context.Context, context.CancelFunc, error) {\n	if ctx != nil {\n		return ctx, func() {}, nil\n	}\n",
		},
		faults: "^(two replicas|zombie): sink-clickhouse",
	},
	{
		name: "repeats are not looked up", file: "functions/sink-clickhouse/sink.go",
		old: []string{"		if r.present[position{w.partition, w.offset}] || known[w.Key()] {\n"},
		new: []string{"		if r.present[position{w.partition, w.offset}] {\n"},
		// A repeat reaches the sink when aggregate cannot know it for one.
		faults: "^kill -9 (before EndTxn|before TxnOffsetCommit|after EndTxn): aggregate|^wiped",
	},
	{
		name: "offsets dropped at commit", file: "functions/sink-iceberg/offsets.go",
		old:    []string{"	return iceberg.Properties{offsetsKey: string(text)}, nil\n"},
		new:    []string{"	_ = text\n	return iceberg.Properties{}, nil\n"},
		faults: "^kill -9: sink-iceberg|^SIGTERM: sink-iceberg",
	},
	{
		name: "offsets dropped at compaction", file: "functions/sink-iceberg/commit.go",
		old:    []string{"		props, err := at.properties()\n", "		if err := change(t, tx, props); errors.Is(err, errNoChange) {\n"},
		new:    []string{"		at = offsets{}\n		props, err := at.properties()\n", "		if err := errors.Join(tx.SetProperties(props), change(t, tx, props)); errors.Is(err, errNoChange) {\n"},
		faults: "^compaction|^kill -9: sink-iceberg",
	},
	{
		name: "Redis before Kafka", file: "functions/aggregate/engine.go",
		old:    []string{"	return func(ctx context.Context) error {\n		c.add("},
		new:    []string{"	early := map[int32]int64{}\n	for p, next := range b.Next {\n		early[p.Number] = next\n	}\n	if err := e.store.save(ctx, e.topicID, w.histories, early); err != nil {\n		return nil, err\n	}\n	return func(ctx context.Context) error {\n		c.add("},
		faults: "^kill -9 before (TxnOffsetCommit|EndTxn): aggregate",
	},
	{
		name: "invalid records are passed over", file: "shared/kafka/deadletters.go",
		old: []string{"	for i, v := range invalid {\n		r := v.record\n		if r.Offset"},
		new: []string{"	for i, v := range invalid[:0] {\n		r := v.record\n		if r.Offset"},
	},
	{
		name: "dead letters one by one", file: "shared/kafka/deadletters.go",
		old:      []string{"			failed[i] = err\n			written.Done()\n		})\n"},
		new:      []string{"			failed[i] = err\n			written.Done()\n		})\n		written.Wait()\n"},
		scenario: throughFlood,
	},
	{
		name: "no block is tried smaller", file: "shared/kafka/size.go",
		old:      []string{"	s.now = max(1, min(s.now, records)/2)\n"},
		new:      []string{"	_ = records\n"},
		scenario: throughThinLine,
	},
	{
		name: "a partition that is new to the process is taken for one at offset 0", file: "functions/aggregate/cache.go",
		old:      []string{"	next, known := c.follows[partition]\n	return known && next == begins\n"},
		new:      []string{"	return c.follows[partition] == begins\n"},
		scenario: throughLogThatBeganAgain,
	},
	{
		name: "scripts by their hash only", file: "functions/aggregate/history.go",
		old: []string{
			"	return &historyStore{redis: rdb, schema: schema, replace: redis.NewScript(replaceScript), advance: redis.NewScript(advanceScript)}, nil\n",
			"s.replace.Eval)\n",
			"s.advance.Run(",
		},
		new: []string{
			"	replace, advance := redis.NewScript(replaceScript), redis.NewScript(advanceScript)\n	for _, s := range []*redis.Script{replace, advance} {\n		for s.Load(context.Background(), rdb).Err() != nil {\n		}\n	}\n	return &historyStore{redis: rdb, schema: schema, replace: replace, advance: advance}, nil\n",
			"s.replace.EvalSha)\n",
			"s.advance.EvalSha(",
		},
		scenario: throughFlushedScripts,
	},
	{
		name: "an expired session is taken for another process", file: "shared/kafka/drain.go",
		old: []string{
			"		if !d.rest(reading, pause, errors.Is(err, errFenced)) {\n",
			"		if !wasFenced || d.taken == nil || !d.taken(ctx) {\n",
		},
		new: []string{
			"		if c := classOf(err); !d.rest(reading, pause, c == fenced || c == rejoin) {\n",
			"		if !wasFenced {\n",
		},
		scenario: throughExpiredSession,
	},
	{
		name: "a key moves when an output is given more partitions", file: "shared/kafka/transact.go",
		old:      []string{", kgo.RecordPartitioner(outputs.partitioner()))\n"},
		new:      []string{")\n"},
		scenario: throughWidenedOutput,
	},
	{
		name: "a record whose schema is unknown is invalid", file: "shared/event/codec.go",
		old:    []string{"		ErrUnknownSchema, known.reason, contract.Type)\n"},
		new:    []string{"		ErrInvalid, known.reason, contract.Type)\n"},
		faults: "^emptied for a while",
	},
	{
		name: "a message leaves the outbox before it is sent", file: "functions/notify/deliver.go",
		old:    []string{"	failed := f.targets[name].Send(ctx, compose(to, sent, signals))\n"},
		new:    []string{"	if err := f.outbox.remove(ctx, name, sent, false); err != nil {\n		return 0, err\n	}\n	failed := f.targets[name].Send(ctx, compose(to, sent, signals))\n"},
		faults: "^kill -9 before a message: notify|^outage: target",
	},
}

// TestSuiteFindsEachBrokenPromise breaks promises, one by one, in programs made
// for it, and demands that the suite says so. It takes a minute or two for each.
func TestSuiteFindsEachBrokenPromise(t *testing.T) {
	if !*broken {
		t.Skip("with -chaos.broken, as `make chaos` runs it")
	}
	for _, b := range breaches {
		t.Run(b.name, func(t *testing.T) {
			dir := t.TempDir()
			b.build(t, dir)
			if b.scenario != nil {
				errs := b.scenario(t.Context(), t, dir)
				if len(errs) == 0 {
					t.Error("not found")
				}
				t.Logf("found: %v", errors.Join(errs...))
				return
			}
			c := newChaos(t, newPipeline(t, dir, 0.7, small()), *seed)
			pattern := regexp.MustCompile(b.faults)
			var some []fault
			for _, f := range c.all {
				if b.faults != "" && pattern.MatchString(f.name) {
					some = append(some, f)
				}
			}
			if b.faults != "" && len(some) == 0 {
				t.Fatalf("no fault is like %s", b.faults)
			}
			const most = 10
			for n := range most {
				if errs := c.throw(t.Context(), slices.Concat(some, some)); len(errs) > 0 {
					t.Logf("found in round %d: %v", n+1, errors.Join(errs...))
					return
				}
			}
			t.Errorf("not found in %d rounds", most)
		})
	}
}

func TestLinesOfEachBrokenPromiseAreThere(t *testing.T) {
	for _, b := range breaches {
		b.source(t)
	}
}

// source is the file with the breach in it.
func (b breach) source(t *testing.T) (path, source string) {
	t.Helper()
	path = absolute(t, filepath.Join("..", b.file))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	source = string(text)
	for i, old := range b.old {
		if strings.Count(source, old) != 1 {
			t.Fatalf("%s has not once: %s", b.file, old)
		}
		source = strings.Replace(source, old, b.new[i], 1)
	}
	return path, source
}

// build makes programs of the sources with the breach in them.
func (b breach) build(t *testing.T, dir string) {
	t.Helper()
	path, source := b.source(t)
	replaced := filepath.Join(dir, "replaced.go")
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: replaced}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(replaced, []byte(source), 0o644), os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := build(dir, "-overlay", filepath.Join(dir, "overlay.json")); err != nil {
		t.Fatal(err)
	}
}
