package sinkiceberg

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog/rest"
	"github.com/apache/iceberg-go/table"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

// commitTries bounds how often one commit is tried against other writers.
const commitTries = 20

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
		if at.TopicID == topicID && at.reach(b) {
			return nil // an earlier try went through, though its answer was lost
		}
		if at.TopicID != "" && at.TopicID != topicID || !at.begin(b) {
			return fmt.Errorf("commit to %s: %w", c.layout.name, errOvertaken)
		}
		err = c.transact(ctx, t, at.after(topicID, b), files)
		if err == nil {
			return nil
		}
		if !conflict(err) && !errors.Is(err, rest.ErrCommitStateUnknown) {
			return fmt.Errorf("commit to %s: %w", c.layout.name, err)
		}
		select {
		case <-time.After(time.Duration(rand.IntN(20*try)) * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("commit to %s: %w", c.layout.name, ctx.Err())
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

// conflict says whether a commit failed because the table had moved on. SQL
// catalogs report that in words only.
func conflict(err error) bool {
	return errors.Is(err, table.ErrCommitFailed) || strings.Contains(strings.ToLower(err.Error()), "requirement failed")
}
