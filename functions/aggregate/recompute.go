package aggregate

import (
	"fmt"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// Reach is how far back an observation's velocities look, in days: to
// compute a day, that many days before it must have been learnt.
const Reach = velocity.Reach

// Past is what is known of many repositories while their observations are
// computed again, from nothing but the observations themselves. Given each
// repository's observations in the order of their times it makes the rows of a
// history in which none came late. It takes about 1 KB a repository.
type Past struct{ repositories map[int64]*repository }

// repository is the past of one repository.
type repository struct {
	known  int64
	points []byte // packed: there are many of them
}

// NewPast returns a past without any repository.
func NewPast() *Past { return &Past{repositories: map[int64]*repository{}} }

func (p *Past) of(repo int64) *repository {
	l := p.repositories[repo]
	if l == nil {
		l = &repository{points: velocity.History(nil).Pack(nil)}
		p.repositories[repo] = l
	}
	return l
}

// Count notes observations of a repository that are not learnt, because they lie
// beyond Reach.
func (p *Past) Count(repo, observations int64) { p.of(repo).known += observations }

// Learn takes in an observation, in any order.
func (p *Past) Learn(o *event.RepoObserved) error {
	_, _, err := p.insert(o)
	return err
}

// LearnDay takes in the observations of one day, in any order. before says how
// many days later the first one is that is computed: of a day well before it only
// each repository's last observation matters.
func (p *Past) LearnDay(before int, observations func(each func(*event.RepoObserved) error) error) error {
	if before <= velocity.WholeDays {
		return observations(p.Learn)
	}
	last := map[int64]*event.RepoObserved{}
	err := observations(func(o *event.RepoObserved) error {
		l := last[o.ID]
		if l != nil {
			p.Count(o.ID, 1)
		}
		if l == nil || l.ObservedAt.Before(o.ObservedAt) {
			last[o.ID] = o
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, o := range last {
		if err := p.Learn(o); err != nil {
			return err
		}
	}
	return nil
}

// Compute takes in an observation and makes its row, processed now: as
// aggregate makes it of one that comes in order. Of one that was taken in
// before it says so.
func (p *Past) Compute(o *event.RepoObserved, now time.Time) (row *event.RepoProcessed, known bool, err error) {
	l, h, err := p.insert(o)
	if err != nil || h == nil {
		return nil, h == nil, err
	}
	return &event.RepoProcessed{Observation: *o, ProcessedAt: now, Revision: l.known, Velocities: h.Measure(velocity.PointOf(o))}, false, nil
}

// insert returns the history with the observation in it, or none if it was.
func (p *Past) insert(o *event.RepoObserved) (*repository, velocity.History, error) {
	l := p.of(o.ID)
	h, err := velocity.Unpack(l.points)
	if err != nil {
		return nil, nil, fmt.Errorf("the past of repository %d: %w", o.ID, err)
	}
	at := velocity.PointOf(o)
	if h.Has(at.At) {
		return l, nil, nil
	}
	h = h.Insert(at)
	l.known++
	l.points = h.Pack(l.points[:0])
	return l, h, nil
}
