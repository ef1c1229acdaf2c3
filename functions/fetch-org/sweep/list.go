package sweep

import (
	"context"
	"errors"
	"log/slog"

	"github.com/m7pulse/m7pulse/functions/fetch-org/github"
)

// maxPageFailures is how often a page of the list may fail before it is read by
// ids alone, so that one repository that GitHub cannot answer for delays no other.
const maxPageFailures = 8

// readList reads a page of the owner's list.
func (s *Sweeper) readList(ctx, githubCtx context.Context, a *attempt) error {
	cp := a.cp
	if cp.Failures >= maxPageFailures {
		return s.readIDs(ctx, githubCtx, a)
	}
	// All details of a new owner have to be read, which is cheapest together with
	// the counters.
	p, err := s.github.List(githubCtx, a.of(), cp.Cursor, !cp.Comparable, &a.usage)
	if err != nil {
		return err
	}
	readings := make([]*reading, len(p.Nodes))
	for i, n := range p.Nodes {
		readings[i] = &reading{Repo: *n, at: p.At, detailed: !cp.Comparable}
	}
	done, err := s.observe(ctx, githubCtx, a, readings)
	if err != nil {
		return err
	}
	if p.Nulls > 0 {
		left, unnamed, err := s.omitted(githubCtx, a, p)
		if err != nil {
			return err
		}
		for _, m := range left {
			done.Missing = append(done.Missing, m.String())
		}
		cp.Nulls += int64(unnamed)
	}
	return s.advanceList(ctx, a, p.Next, p.Stuck, p.Total, done)
}

// omitted finds out which repositories of a page GitHub answered null for: it
// lists the same page by ids alone. If the page ends elsewhere now, because the
// list has changed, it has to be read again: an omitted repository may have moved
// to another page.
func (s *Sweeper) omitted(githubCtx context.Context, a *attempt, was github.Page[github.Repo]) (left []missing, unnamed int, err error) {
	p, err := s.github.ListIDs(githubCtx, a.of(), a.cp.Cursor, len(was.Nodes)+was.Nulls, &a.usage)
	if err != nil {
		return nil, 0, err
	}
	if p.Next != was.Next {
		return nil, 0, &github.NoAnswerError{Cause: errors.New("the list changed while it was read")}
	}
	there := map[string]bool{}
	for _, n := range was.Nodes {
		there[n.ID] = true
	}
	for _, n := range p.Nodes {
		if !there[n.ID] && n.DatabaseID != nil {
			left = append(left, missing{id: *n.DatabaseID, node: n.ID})
		}
	}
	return left, p.Nulls, nil
}

// readIDs reads a page of ids alone, and notes every repository of it as missing.
func (s *Sweeper) readIDs(ctx, githubCtx context.Context, a *attempt) error {
	cp := a.cp
	p, err := s.github.ListIDs(githubCtx, a.of(), cp.Cursor, maxPageFailures, &a.usage)
	if err != nil {
		return err
	}
	slog.Warn("page failed repeatedly: reading it by ids", "owner", a.request.Login, "repositories", len(p.Nodes))
	var done progress
	for _, n := range p.Nodes {
		if n.DatabaseID != nil {
			done.Missing = append(done.Missing, missing{id: *n.DatabaseID, node: n.ID}.String())
		}
	}
	cp.Nulls += int64(p.Nulls)
	return s.advanceList(ctx, a, p.Next, p.Stuck, p.Total, done)
}

// advanceList takes the list to its next page. A list that leads back to a page
// that was read before is taken to end there: it would never end by itself.
func (s *Sweeper) advanceList(ctx context.Context, a *attempt, next string, stuck bool, total *int64, done progress) (err error) {
	cp := a.cp
	if cp.Looped, err = s.isLoop(ctx, a, "list ", cp.Cursor, next, stuck, &done); err != nil {
		return err
	}
	if cp.Looped {
		next = ""
	}
	cp.Cursor, cp.Exhausted, cp.Failures, cp.Total = next, next == "", 0, total
	cp.Line.Pages++
	return s.save(ctx, a, done)
}

// isLoop says whether the page after a cursor leads back to one that was read
// before in the same pass over the list, and notes the page as read.
func (s *Sweeper) isLoop(ctx context.Context, a *attempt, pass, cursor, next string, stuck bool, done *progress) (bool, error) {
	done.Read = append(done.Read, pass+cursor)
	loop := stuck
	if !loop && next != "" {
		var err error
		if loop, err = s.sweeps.wasRead(ctx, a.request, pass+next); err != nil {
			return false, err
		}
	}
	if loop {
		slog.Warn("GitHub's list loops: the next page was read before", "owner", a.request.Login, "after", github.Brief(cursor), "next", github.Brief(next))
	}
	return loop, nil
}
