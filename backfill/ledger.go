package backfill

import (
	"context"
	"time"

	"github.com/m7pulse/m7pulse/shared/feed"
)

// Repository is one whose events a backfill takes.
type Repository struct {
	ID                   int64 // GitHub's
	NameWithOwner, Owner string
}

// noteGap writes for each repository a ledger line that its events of an hour were not
// to be had. The line counts as read when the hour ended: it says nothing of any other
// time. One of the same hour that comes again replaces it.
func (a *Archive) noteGap(ctx context.Context, line Line) error {
	return a.note(ctx, line, func(r *feed.Reading) {
		r.Status, r.GapFrom, r.GapTo, r.Reason = feed.StatusGap, r.Since, &r.ReadAt, &line.Reason
	})
}

// noteRead writes for each repository that an hour, which was a gap, has been read.
func (a *Archive) noteRead(ctx context.Context, line Line) error {
	return a.note(ctx, line, func(*feed.Reading) {})
}

func (a *Archive) note(ctx context.Context, line Line, change func(*feed.Reading)) error {
	since, err := time.Parse(hourForm, line.Hour)
	if err != nil {
		return nil // the name of its file does not say which hour it is
	}
	for _, repo := range a.Repositories {
		if repo.ID <= 0 || !a.Filter.takes(repo.Owner, repo.NameWithOwner) {
			continue
		}
		r := &feed.Reading{RepoID: repo.ID, NameWithOwner: repo.NameWithOwner, Owner: repo.Owner, Status: feed.StatusComplete, Since: &since, ReadAt: since.Add(time.Hour)}
		change(r)
		if err := a.To.Note(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// Gaps writes into the ledger of feeds which hours could not be read, of those that
// Hour has returned, and returns once it is durable. It is for the end of a backfill: if
// no hour at all was found, the place is wrong, and nothing is known.
func (a *Archive) Gaps(ctx context.Context, lines []Line) error {
	for _, line := range lines {
		if line.Status == Done {
			continue
		}
		if err := a.noteGap(ctx, line); err != nil {
			return err
		}
	}
	return a.To.Flush(ctx)
}
