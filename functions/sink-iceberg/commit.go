package sinkiceberg

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/catalog/rest"
	"github.com/apache/iceberg-go/table"

	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/trace"
)

// commitTries bounds how often one commit is tried against other writers.
const commitTries = 20

// errSetBack: the table's offsets are behind those that were read before.
var errSetBack = errors.New("the table was emptied, recreated or restored")

// errOvertaken: another writer has stored part of the current block.
var errOvertaken = errors.New("another writer is storing the same records")

// commit adds files to a table and advances its offsets in one step, which succeeds
// only if the snapshot whose offsets were read is still the current one: of two
// writers with the same records one succeeds, and the other finds out here. It is
// safe to repeat.
func (c *tableStore[R]) commit(ctx context.Context, t *table.Table, topicID string, b kafka.Block, files []iceberg.DataFile) (err error) {
	ctx, span := trace.Start(ctx, trace.Client, "commit "+c.layout.name, "db.collection.name", c.layout.name, "m7pulse.files", len(files))
	defer func() { span.End(err) }()
	for try := 1; try <= commitTries; try++ {
		at, err := readOffsets(t)
		if err != nil {
			return err
		}
		if !at.notBehind(c.seen) { // what was stored before this block has to be stored again first
			return fmt.Errorf("commit to %s: %w: its offsets are %v, and were %v", c.layout.name, errSetBack, at.Next, c.seen.Next)
		}
		if at.TopicID == topicID && at.covers(b) {
			c.seen = at
			return nil // an earlier try succeeded, but its answer was lost
		}
		if at.TopicID != "" && at.TopicID != topicID || !at.precede(b) {
			return fmt.Errorf("commit to %s: %w", c.layout.name, errOvertaken)
		}
		err = c.transact(ctx, t, at.advanced(topicID, b), files)
		if err == nil {
			c.seen = at.advanced(topicID, b)
			return nil
		}
		if !conflict(err) && !errors.Is(err, rest.ErrCommitStateUnknown) {
			return fmt.Errorf("commit to %s: %w", c.layout.name, err)
		}
		if err := backOff(ctx, try); err != nil {
			return fmt.Errorf("commit to %s: %w", c.layout.name, err)
		}
		if t, err = c.load(ctx); err != nil {
			return err
		}
	}
	return fmt.Errorf("commit to %s: given up after %d tries", c.layout.name, commitTries)
}

func (c *tableStore[R]) transact(ctx context.Context, t *table.Table, to offsets, files []iceberg.DataFile) error {
	props, err := to.properties()
	if err != nil {
		return err
	}
	tx := t.NewTransaction()
	if err := tx.AssertRefSnapshotID(""); err != nil {
		return err
	}
	if len(files) > 0 {
		if err := tx.AddDataFiles(ctx, files, props, table.WithoutDuplicateCheck()); err != nil {
			return err
		}
	}
	if err := tx.SetProperties(props); err != nil {
		return err
	}
	_, err = tx.Commit(ctx)
	return err
}

// errNoChange: there is nothing to change.
var errNoChange = errors.New("nothing to change")

// amend changes existing rows of a table in one commit, and tries again with the
// current table when another writer was faster. Like every commit it repeats how far
// the topic is stored: change must pass the properties that it receives on to a new
// snapshot's summary. A table that does not exist is left alone. The change may be
// made twice, because an answer can get lost.
func amend(ctx context.Context, c catalog.Catalog, name string, change func(*table.Table, *table.Transaction, iceberg.Properties) error) error {
	for try := 1; ; try++ {
		t, err := c.LoadTable(ctx, table.Identifier{namespace, name})
		if errors.Is(err, catalog.ErrNoSuchTable) || errors.Is(err, catalog.ErrNoSuchNamespace) {
			return nil
		}
		if err != nil {
			return err
		}
		at, err := readOffsets(t)
		if err != nil {
			return err
		}
		props, err := at.properties()
		if err != nil {
			return err
		}
		tx := t.NewTransaction()
		if err := tx.AssertRefSnapshotID(""); err != nil {
			return err
		}
		if err := change(t, tx, props); errors.Is(err, errNoChange) {
			return nil
		} else if err != nil {
			return err
		}
		if _, err = tx.Commit(ctx); err == nil {
			return nil
		}
		if !conflict(err) && !errors.Is(err, rest.ErrCommitStateUnknown) || try == commitTries {
			return err
		}
		if err := backOff(ctx, try); err != nil {
			return err
		}
	}
}

// backOff waits for a random time, up to 20 ms times the number of tries, so that
// another writer's commit can finish.
func backOff(ctx context.Context, try int) error {
	select {
	case <-time.After(time.Duration(rand.IntN(20*try)) * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// conflict reports whether a commit failed because the table had changed. SQL catalogs
// report that only in the error's text.
func conflict(err error) bool {
	return errors.Is(err, table.ErrCommitFailed) || strings.Contains(strings.ToLower(err.Error()), "requirement failed")
}
