package fetchorg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// maxPageFailures is how often a page of the list may fail before it is read by
// ids alone, so that one repository that GitHub cannot answer for delays no other.
const maxPageFailures = 8

// step takes the sweep one page further. What it reads is durable in Kafka
// before the checkpoint moves: after a crash in between the page is read again,
// which gives further observations of the same repositories, each true.
//
// It returns false when the sweep is done.
func (s *sweeper) step(ctx, githubCtx context.Context, a *attempt) (bool, error) {
	cp := a.cp
	switch {
	case cp.OwnerType == "":
		return true, s.identify(ctx, githubCtx, a)
	case !cp.Exhausted && len(a.owner.Repos) > 0:
		return true, s.readNames(ctx, githubCtx, a)
	case !cp.Exhausted:
		return true, s.readList(ctx, githubCtx, a)
	case !cp.Compared:
		return true, s.compare(ctx, a)
	case cp.missing > 0:
		return true, s.readMissing(ctx, githubCtx, a)
	case !cp.SecondPassDone && (cp.SecondPassCursor != "" || s.incomplete(a)):
		return true, s.secondPass(ctx, githubCtx, a)
	}
	return false, nil
}

// identify finds out what the owner is.
func (s *sweeper) identify(ctx, githubCtx context.Context, a *attempt) error {
	o, err := s.github.owner(githubCtx, a.request.Login, &a.usage)
	if err != nil {
		return err
	}
	a.cp.OwnerType, a.cp.Line.Owner = o.Type, o.Login
	if a.cp.Comparable, err = s.cache.comparable(ctx, a.request.Login); err != nil {
		return err
	}
	return s.save(ctx, a, progress{})
}

// readList reads a page of the owner's list.
func (s *sweeper) readList(ctx, githubCtx context.Context, a *attempt) error {
	cp := a.cp
	if cp.Failures >= maxPageFailures {
		return s.readIDs(ctx, githubCtx, a)
	}
	// All details of a new owner have to be read, which is cheapest together with
	// the counters.
	var p page[Whole]
	var err error
	if cp.Comparable {
		var light page[Counters]
		light, err = listed[Counters](githubCtx, s.github, shapeList, a.of(), cp.Cursor, &a.usage)
		p = page[Whole]{at: light.at, total: light.total, nulls: light.nulls, next: light.next, stuck: light.stuck}
		for _, n := range light.nodes {
			p.nodes = append(p.nodes, &Whole{Counters: *n})
		}
	} else {
		p, err = listed[Whole](githubCtx, s.github, shapeListAll, a.of(), cp.Cursor, &a.usage)
	}
	if err != nil {
		return err
	}
	readings := make([]*reading, len(p.nodes))
	for i, n := range p.nodes {
		readings[i] = &reading{Whole: *n, at: p.at, detailed: !cp.Comparable}
	}
	done, err := s.observe(ctx, githubCtx, a, readings)
	if err != nil {
		return err
	}
	if p.nulls > 0 {
		left, unnamed, err := s.omitted(githubCtx, a, p)
		if err != nil {
			return err
		}
		for _, m := range left {
			done.Missing = append(done.Missing, m.String())
		}
		cp.Nulls += int64(unnamed)
	}
	return s.advanceList(ctx, a, p.next, p.stuck, p.total, done)
}

// listed reads a page as wide as the shape allows.
func listed[N any](ctx context.Context, g *github, s shape, o owner, cursor string, u *usage) (page[N], error) {
	wide, err := g.widths.of(ctx, s)
	if err != nil {
		return page[N]{}, err
	}
	return list[N](ctx, g, s, o, cursor, min(wide.n(), s.max), u)
}

// omitted finds out which repositories of a page GitHub answered null for: it
// lists the same page by ids alone. If the page ends elsewhere now, because the
// list has changed, it has to be read again: an omitted repository may have moved
// to another page.
func (s *sweeper) omitted(githubCtx context.Context, a *attempt, was page[Whole]) (left []missing, unnamed int, err error) {
	p, err := list[identified](githubCtx, s.github, shapeIDs, a.of(), a.cp.Cursor, len(was.nodes)+was.nulls, &a.usage)
	if err != nil {
		return nil, 0, err
	}
	if p.next != was.next {
		return nil, 0, &noAnswerError{cause: errors.New("the list changed while it was read")}
	}
	there := map[string]bool{}
	for _, n := range was.nodes {
		there[n.ID] = true
	}
	for _, n := range p.nodes {
		if !there[n.ID] && n.DatabaseID != nil {
			left = append(left, missing{id: *n.DatabaseID, node: n.ID})
		}
	}
	return left, p.nulls, nil
}

// readIDs reads a page of ids alone, and notes every repository of it as missing.
func (s *sweeper) readIDs(ctx, githubCtx context.Context, a *attempt) error {
	cp := a.cp
	p, err := list[identified](githubCtx, s.github, shapeIDs, a.of(), cp.Cursor, maxPageFailures, &a.usage)
	if err != nil {
		return err
	}
	slog.Warn("page failed repeatedly: reading it by ids", "owner", a.request.Login, "repositories", len(p.nodes))
	var done progress
	for _, n := range p.nodes {
		if n.DatabaseID != nil {
			done.Missing = append(done.Missing, missing{id: *n.DatabaseID, node: n.ID}.String())
		}
	}
	cp.Nulls += int64(p.nulls)
	return s.advanceList(ctx, a, p.next, p.stuck, p.total, done)
}

// advanceList takes the list to its next page. A list that leads back to a page
// that was read before is taken to end there: it would never end by itself.
func (s *sweeper) advanceList(ctx context.Context, a *attempt, next string, stuck bool, total *int64, done progress) (err error) {
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
func (s *sweeper) isLoop(ctx context.Context, a *attempt, pass, cursor, next string, stuck bool, done *progress) (bool, error) {
	done.Read = append(done.Read, pass+cursor)
	loop := stuck
	if !loop && next != "" {
		var err error
		if loop, err = s.sweeps.wasRead(ctx, a.request, pass+next); err != nil {
			return false, err
		}
	}
	if loop {
		slog.Warn("GitHub's list loops: the next page was read before", "owner", a.request.Login, "after", brief(cursor), "next", brief(next))
	}
	return loop, nil
}

// readNames reads the next of the repositories that are listed by name. One that
// was found before is followed by its id, whatever its name is by now.
func (s *sweeper) readNames(ctx, githubCtx context.Context, a *attempt) error {
	cp, names := a.cp, a.owner.Repos
	cp.Total = new(int64(len(names)))
	if cp.Named >= len(names) {
		cp.Exhausted = true
		return s.save(ctx, a, progress{})
	}
	name := strings.ToLower(names[cp.Named])
	id, err := s.cache.named(ctx, a.request.Login, name)
	if err != nil {
		return err
	}
	var done progress
	if id == 0 {
		n, at, err := s.github.repository(githubCtx, a.request.Login, name, &a.usage)
		if err != nil {
			return err
		}
		cp.Line.Pages++
		switch {
		case n == nil || n.DatabaseID == nil || n.IsPrivate:
			cp.Unknown = append(cp.Unknown, name)
		default:
			if done, err = s.observe(ctx, githubCtx, a, []*reading{{Whole: *n, at: at, detailed: true}}); err != nil {
				return err
			}
			if err := s.cache.keep(ctx, a.request.Login, nil, map[string]int64{name: *n.DatabaseID}); err != nil {
				return err
			}
		}
	}
	cp.Named++
	cp.Failures = 0
	return s.save(ctx, a, done)
}

// compare notes as missing what earlier sweeps saw and this one has not. Each is
// asked for by id: it may be gone, have moved, or have been overlooked.
func (s *sweeper) compare(ctx context.Context, a *attempt) error {
	err := s.cache.each(ctx, a.request.Login, func(some map[int64]*cachedRepo) error {
		ids := make([]int64, 0, len(some))
		for id := range some {
			ids = append(ids, id)
		}
		unseen, err := s.sweeps.unseen(ctx, a.request, ids)
		if err != nil || len(unseen) == 0 {
			return err
		}
		var done progress
		for _, id := range unseen {
			done.Missing = append(done.Missing, missing{id: id, node: some[id].NodeID}.String())
		}
		return s.save(ctx, a, done)
	})
	if err != nil {
		return err
	}
	a.cp.Compared = true
	return s.save(ctx, a, progress{})
}

// readMissing asks for missing repositories by id.
func (s *sweeper) readMissing(ctx, githubCtx context.Context, a *attempt) error {
	wide, err := s.github.widths.of(ctx, shapeNodes)
	if err != nil {
		return err
	}
	// Fewer after each failure, down to the one that GitHub cannot answer for.
	n := max(1, min(wide.n(), shapeNodes.max)>>min(a.cp.Failures, 7))
	some, asked, err := s.sweeps.missing(ctx, a.request, n)
	if err != nil {
		return err
	}
	ids := make([]string, len(some))
	for i, m := range some {
		ids[i] = m.node
	}
	answers, err := byID[Whole](githubCtx, s.github, shapeNodes, ids, &a.usage)
	var bad *noAnswerError
	if errors.As(err, &bad) && (bad.killed || bad.unreadable) && len(some) == 1 {
		// This is the one that GitHub cannot answer for.
		return errors.Join(s.save(ctx, a, progress{Failed: []string{some[0].String()}}), err)
	}
	if err != nil {
		return err
	}
	var done progress
	var readings []*reading
	var gone []int64
	for i, answer := range answers {
		switch {
		case answer.gone || answer.node != nil && !s.belongs(a, answer.node):
			done.Settled = append(done.Settled, some[i].String())
			gone = append(gone, some[i].id)
		case answer.node == nil || answer.node.DatabaseID == nil:
			done.Failed = append(done.Failed, some[i].String())
		default:
			readings = append(readings, &reading{Whole: *answer.node, at: answer.at, detailed: true, asked: asked[i] + 1})
		}
	}
	was, err := s.cache.recall(ctx, a.request.Login, gone)
	if err != nil {
		return err
	}
	for id := range was {
		done.Gone = append(done.Gone, field(id))
	}
	read, err := s.observe(ctx, githubCtx, a, readings)
	if err != nil {
		return err
	}
	a.cp.Line.Pages++
	a.cp.Failures = 0
	if err := s.save(ctx, a, read.merge(done)); err != nil {
		return err
	}
	if len(readings)+len(gone) == 0 {
		return &noAnswerError{cause: fmt.Errorf("none of %d repositories", len(some))}
	}
	return nil
}

// belongs says whether a repository is still a public one of the owner.
func (s *sweeper) belongs(a *attempt, n *Whole) bool {
	login, _, _ := strings.Cut(n.NameWithOwner, "/")
	return !n.IsPrivate && (strings.EqualFold(login, a.request.Login) || len(a.owner.Repos) > 0)
}

// incomplete says whether the sweep may have missed repositories: GitHub counts
// more than it has seen, or does not count them, omitted some without their ids,
// or its list did not end.
func (s *sweeper) incomplete(a *attempt) bool {
	line := &a.cp.Line
	return len(a.owner.Repos) == 0 && (a.cp.Nulls > 0 || a.cp.Looped || line.Expected == nil || line.Seen+line.Unanswered < *line.Expected)
}

// secondPass lists the owner's repositories once more, by ids alone, to find those
// that moved to a page that was read already, or that GitHub omitted.
func (s *sweeper) secondPass(ctx, githubCtx context.Context, a *attempt) error {
	cp := a.cp
	p, err := listed[identified](githubCtx, s.github, shapeIDs, a.of(), cp.SecondPassCursor, &a.usage)
	if err != nil {
		return err
	}
	nodes := map[int64]string{}
	var ids []int64
	for _, n := range p.nodes {
		if n.DatabaseID != nil {
			ids = append(ids, *n.DatabaseID)
			nodes[*n.DatabaseID] = n.ID
		}
	}
	unseen, err := s.sweeps.unseen(ctx, a.request, ids)
	if err != nil {
		return err
	}
	var done progress
	for _, id := range unseen {
		done.Missing = append(done.Missing, missing{id: id, node: nodes[id]}.String())
	}
	if cp.SecondPassCursor == "" { // what had no id in the first pass gets one here
		cp.Nulls = 0
	}
	cp.Nulls += int64(p.nulls)
	if cp.Looped, err = s.isLoop(ctx, a, "again ", cp.SecondPassCursor, p.next, p.stuck, &done); err != nil {
		return err
	}
	if cp.Looped {
		p.next = ""
	}
	cp.SecondPassCursor, cp.SecondPassDone, cp.Failures, cp.Total = p.next, p.next == "", 0, p.total
	cp.Line.Pages++
	return s.save(ctx, a, done)
}

// of is the owner as its repositories are asked for.
func (a *attempt) of() owner {
	return owner{Login: a.cp.Line.Owner, Type: a.cp.OwnerType, Company: a.owner.company()}
}
