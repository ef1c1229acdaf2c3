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
)

// commitTries bounds how often one commit is tried against other writers.
const commitTries = 20

// errWentBack: the table knows less than it did.
var errWentBack = errors.New("the table was emptied, recreated or restored")

// errOvertaken: another writer has stored part of the block in hand.
var errOvertaken = errors.New("another writer is storing the same records")

// commit adds files to a table and moves its offsets, in one step that is tied
// to the snapshot whose offsets were looked at: of two writers with the same
// records one wins, and the other finds out here.
func (c *cold[R]) commit(ctx context.Context, t *table.Table, topicID string, b kafka.Block, files []iceberg.DataFile) error {
	for try := 1; try <= commitTries; try++ {
		at, err := readOffsets(t)
		if err != nil {
			return err
		}
		if !at.hold(c.seen) { // what was stored before the block is to be stored again first
			return fmt.Errorf("commit to %s: %w: its offsets are %v, and were %v", c.layout.name, errWentBack, at.Next, c.seen.Next)
		}
		if at.TopicID == topicID && at.reach(b) {
			c.seen = at
			return nil // an earlier try went through, though its answer was lost
		}
		if at.TopicID != "" && at.TopicID != topicID || !at.begin(b) {
			return fmt.Errorf("commit to %s: %w", c.layout.name, errOvertaken)
		}
		err = c.transact(ctx, t, at.after(topicID, b), files)
		if err == nil {
			c.seen = at.after(topicID, b)
			return nil
		}
		if !conflict(err) && !errors.Is(err, rest.ErrCommitStateUnknown) {
			return fmt.Errorf("commit to %s: %w", c.layout.name, err)
		}
		if err := yield(ctx, try); err != nil {
			return fmt.Errorf("commit to %s: %w", c.layout.name, err)
		}
		if t, err = c.load(ctx); err != nil {
			return err
		}
	}
	return fmt.Errorf("commit to %s: given up after %d tries", c.layout.name, commitTries)
}

func (c *cold[R]) transact(ctx context.Context, t *table.Table, to offsets, files []iceberg.DataFile) error {
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

// errNothing: there is nothing to change.
var errNothing = errors.New("nothing to change")

// amend changes in one commit what a table holds of the past, and tries again,
// with the table as it is then, when another writer was faster. As every commit
// this one repeats how far the topic is stored: a new snapshot's summary is to be
// made of the properties that change is given. A table that does not exist stays
// so. The change may be made twice: an answer can get lost.
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
		if err := change(t, tx, props); errors.Is(err, errNothing) {
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
		if err := yield(ctx, try); err != nil {
			return err
		}
	}
}

// yield waits a moment, longer each time, for other writers to be done.
func yield(ctx context.Context, try int) error {
	select {
	case <-time.After(time.Duration(rand.IntN(20*try)) * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// conflict says whether a commit failed because the table had moved on. SQL
// catalogs report that in words only.
func conflict(err error) bool {
	return errors.Is(err, table.ErrCommitFailed) || strings.Contains(strings.ToLower(err.Error()), "requirement failed")
}
