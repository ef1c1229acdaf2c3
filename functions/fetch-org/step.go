package fetchorg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// stubborn is how many failures at one place of the list make it be read by ids
// alone, so that one repository that GitHub cannot answer for holds up no other.
const stubborn = 8

// step takes the sweep one page further. What it reads is durable in Kafka
// before the checkpoint moves: a crash in between reads the page again, which
// gives other observations of the same repositories, each true.
//
// It answers false when there is no more to do.
func (s *sweeper) step(ctx, asking context.Context, w *errand) (bool, error) {
	cp := w.cp
	switch {
	case cp.OwnerType == "":
		return true, s.identify(ctx, asking, w)
	case !cp.Exhausted && len(w.owner.Repos) > 0:
		return true, s.readNames(ctx, asking, w)
	case !cp.Exhausted:
		return true, s.readList(ctx, asking, w)
	case !cp.Compared:
		return true, s.compare(ctx, w)
	case cp.missing > 0:
		return true, s.readMissing(ctx, asking, w)
	case !cp.Looked && (cp.Again != "" || s.short(w)):
		return true, s.lookAgain(ctx, asking, w)
	}
	return false, nil
}

// identify finds out what the owner is.
func (s *sweeper) identify(ctx, asking context.Context, w *errand) error {
	o, err := s.github.owner(asking, w.request.Login, &w.visit)
	if err != nil {
		return err
	}
	w.cp.OwnerType, w.cp.Line.Owner = o.Type, o.Login
	if w.cp.Comparable, err = s.memory.comparable(ctx, w.request.Login); err != nil {
		return err
	}
	return s.save(ctx, w, progress{})
}

// readList reads a page of the owner's list.
func (s *sweeper) readList(ctx, asking context.Context, w *errand) error {
	cp := w.cp
	if cp.Failures >= stubborn {
		return s.readIDs(ctx, asking, w)
	}
	// An owner that is new here has all its details to be read, which is
	// cheapest together with the counters.
	var p page[Whole]
	var err error
	if cp.Comparable {
		var light page[Counters]
		light, err = listed[Counters](asking, s.github, shapeList, w.of(), cp.Cursor, &w.visit)
		p = page[Whole]{at: light.at, total: light.total, nulls: light.nulls, next: light.next, stuck: light.stuck}
		for _, n := range light.nodes {
			p.nodes = append(p.nodes, &Whole{Counters: *n})
		}
	} else {
		p, err = listed[Whole](asking, s.github, shapeListAll, w.of(), cp.Cursor, &w.visit)
	}
	if err != nil {
		return err
	}
	readings := make([]*reading, len(p.nodes))
	for i, n := range p.nodes {
		readings[i] = &reading{Whole: *n, at: p.at, detailed: !cp.Comparable}
	}
	done, err := s.observe(ctx, asking, w, readings)
	if err != nil {
		return err
	}
	if p.nulls > 0 {
		left, unnamed, err := s.leftOut(asking, w, p)
		if err != nil {
			return err
		}
		for _, m := range left {
			done.Missing = append(done.Missing, m.String())
		}
		cp.Nulls += int64(unnamed)
	}
	return s.listedOn(ctx, w, p.next, p.stuck, p.total, done)
}

// listed reads a page as wide as the shape bears.
func listed[N any](ctx context.Context, g *github, s shape, o owner, cursor string, v *visit) (page[N], error) {
	wide, err := g.widths.of(ctx, s)
	if err != nil {
		return page[N]{}, err
	}
	return list[N](ctx, g, s, o, cursor, min(wide.n(), s.max), v)
}

// leftOut finds out which repositories of a page GitHub answered null for: it
// lists the same page by ids alone. If the list has changed meanwhile, so that
// the page ends elsewhere, the page has to be read again: what was pushed out of
// it could be what was left out.
func (s *sweeper) leftOut(asking context.Context, w *errand, was page[Whole]) (left []missing, unnamed int, err error) {
	p, err := list[identified](asking, s.github, shapeIDs, w.of(), w.cp.Cursor, len(was.nodes)+was.nulls, &w.visit)
	if err != nil {
		return nil, 0, err
	}
	if p.next != was.next {
		return nil, 0, &broken{cause: errors.New("the list changed while it was read")}
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

// readIDs reads a page of ids alone, and notes all of it as missing.
func (s *sweeper) readIDs(ctx, asking context.Context, w *errand) error {
	cp := w.cp
	p, err := list[identified](asking, s.github, shapeIDs, w.of(), cp.Cursor, stubborn, &w.visit)
	if err != nil {
		return err
	}
	slog.Warn("GitHub does not answer a page again and again; it is read by ids", "owner", w.request.Login, "repositories", len(p.nodes))
	var done progress
	for _, n := range p.nodes {
		if n.DatabaseID != nil {
			done.Missing = append(done.Missing, missing{id: *n.DatabaseID, node: n.ID}.String())
		}
	}
	cp.Nulls += int64(p.nulls)
	return s.listedOn(ctx, w, p.next, p.stuck, p.total, done)
}

// listedOn takes the list to its next page. A list that comes round to a page
// that was read before ends there, for it would never end.
func (s *sweeper) listedOn(ctx context.Context, w *errand, next string, stuck bool, total *int64, done progress) (err error) {
	cp := w.cp
	if cp.Round, err = s.comesRound(ctx, w, "list ", cp.Cursor, next, stuck, &done); err != nil {
		return err
	}
	if cp.Round {
		next = ""
	}
	cp.Cursor, cp.Exhausted, cp.Failures, cp.Total = next, next == "", 0, total
	cp.Line.Pages++
	return s.save(ctx, w, done)
}

// comesRound says whether the page after a cursor leads to one that was read
// before in the same look at the list, and notes it as read.
func (s *sweeper) comesRound(ctx context.Context, w *errand, look, cursor, next string, stuck bool, done *progress) (bool, error) {
	done.Read = append(done.Read, look+cursor)
	round := stuck
	if !round && next != "" {
		var err error
		if round, err = s.sweeps.wasRead(ctx, w.request, look+next); err != nil {
			return false, err
		}
	}
	if round {
		slog.Warn("GitHub's list came round to a page that was read before", "owner", w.request.Login, "after", brief(cursor), "next", brief(next))
	}
	return round, nil
}

// readNames reads the next of the repositories that are asked for by name. One
// that is known is followed by its id, so that it may have another name by now.
func (s *sweeper) readNames(ctx, asking context.Context, w *errand) error {
	cp, names := w.cp, w.owner.Repos
	cp.Total = new(int64(len(names)))
	if cp.Named >= len(names) {
		cp.Exhausted = true
		return s.save(ctx, w, progress{})
	}
	name := strings.ToLower(names[cp.Named])
	id, err := s.memory.named(ctx, w.request.Login, name)
	if err != nil {
		return err
	}
	var done progress
	if id == 0 {
		n, at, err := s.github.repository(asking, w.request.Login, name, &w.visit)
		if err != nil {
			return err
		}
		cp.Line.Pages++
		switch {
		case n == nil || n.DatabaseID == nil || n.IsPrivate:
			cp.Unknown = append(cp.Unknown, name)
		default:
			if done, err = s.observe(ctx, asking, w, []*reading{{Whole: *n, at: at, detailed: true}}); err != nil {
				return err
			}
			if err := s.memory.keep(ctx, w.request.Login, nil, map[string]int64{name: *n.DatabaseID}); err != nil {
				return err
			}
		}
	}
	cp.Named++
	cp.Failures = 0
	return s.save(ctx, w, done)
}

// compare notes what earlier sweeps knew and this one has not seen. Each is
// asked for by id, for it may be gone, be elsewhere, or have been overlooked.
func (s *sweeper) compare(ctx context.Context, w *errand) error {
	err := s.memory.each(ctx, w.request.Login, func(some map[int64]*known) error {
		ids := make([]int64, 0, len(some))
		for id := range some {
			ids = append(ids, id)
		}
		unseen, err := s.sweeps.unseen(ctx, w.request, ids)
		if err != nil || len(unseen) == 0 {
			return err
		}
		var done progress
		for _, id := range unseen {
			done.Missing = append(done.Missing, missing{id: id, node: some[id].NodeID}.String())
		}
		return s.save(ctx, w, done)
	})
	if err != nil {
		return err
	}
	w.cp.Compared = true
	return s.save(ctx, w, progress{})
}

// readMissing asks for missing repositories by id.
func (s *sweeper) readMissing(ctx, asking context.Context, w *errand) error {
	wide, err := s.github.widths.of(ctx, shapeNodes)
	if err != nil {
		return err
	}
	// Fewer after each failure, down to the one that GitHub cannot answer for.
	n := max(1, min(wide.n(), shapeNodes.max)>>min(w.cp.Failures, 7))
	some, asked, err := s.sweeps.missing(ctx, w.request, n)
	if err != nil {
		return err
	}
	ids := make([]string, len(some))
	for i, m := range some {
		ids[i] = m.node
	}
	answers, err := byID[Whole](asking, s.github, shapeNodes, ids, &w.visit)
	var bad *broken
	if errors.As(err, &bad) && (bad.killed || bad.unreadable) && len(some) == 1 {
		// It is this one that GitHub cannot answer for.
		return errors.Join(s.save(ctx, w, progress{Failed: []string{some[0].String()}}), err)
	}
	if err != nil {
		return err
	}
	var done progress
	var readings []*reading
	var gone []int64
	for i, a := range answers {
		switch {
		case a.gone || a.node != nil && !s.theirs(w, a.node):
			done.Settled = append(done.Settled, some[i].String())
			gone = append(gone, some[i].id)
		case a.node == nil || a.node.DatabaseID == nil:
			done.Failed = append(done.Failed, some[i].String())
		default:
			readings = append(readings, &reading{Whole: *a.node, at: a.at, detailed: true, asked: asked[i] + 1})
		}
	}
	was, err := s.memory.recall(ctx, w.request.Login, gone)
	if err != nil {
		return err
	}
	for id := range was {
		done.Gone = append(done.Gone, field(id))
	}
	read, err := s.observe(ctx, asking, w, readings)
	if err != nil {
		return err
	}
	w.cp.Line.Pages++
	w.cp.Failures = 0
	if err := s.save(ctx, w, read.and(done)); err != nil {
		return err
	}
	if len(readings)+len(gone) == 0 {
		return &broken{cause: fmt.Errorf("none of %d repositories", len(some))}
	}
	return nil
}

// theirs says whether a repository is still a public one of the owner.
func (s *sweeper) theirs(w *errand, n *Whole) bool {
	login, _, _ := strings.Cut(n.NameWithOwner, "/")
	return !n.IsPrivate && (strings.EqualFold(login, w.request.Login) || len(w.owner.Repos) > 0)
}

// short says whether GitHub counts more repositories than the sweep has seen, or
// does not count them, has left out some that it did not name, or has not come to
// the end of the list.
func (s *sweeper) short(w *errand) bool {
	line := &w.cp.Line
	return len(w.owner.Repos) == 0 && (w.cp.Nulls > 0 || w.cp.Round || line.Expected == nil || line.Seen+line.Unanswered < *line.Expected)
}

// lookAgain lists the owner's repositories once more, by ids alone, for those
// that came to a place that was read already, or that GitHub did not name.
func (s *sweeper) lookAgain(ctx, asking context.Context, w *errand) error {
	cp := w.cp
	p, err := listed[identified](asking, s.github, shapeIDs, w.of(), cp.Again, &w.visit)
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
	unseen, err := s.sweeps.unseen(ctx, w.request, ids)
	if err != nil {
		return err
	}
	var done progress
	for _, id := range unseen {
		done.Missing = append(done.Missing, missing{id: id, node: nodes[id]}.String())
	}
	if cp.Again == "" { // what had no name in the first look gets one here
		cp.Nulls = 0
	}
	cp.Nulls += int64(p.nulls)
	if cp.Round, err = s.comesRound(ctx, w, "again ", cp.Again, p.next, p.stuck, &done); err != nil {
		return err
	}
	if cp.Round {
		p.next = ""
	}
	cp.Again, cp.Looked, cp.Failures, cp.Total = p.next, p.next == "", 0, p.total
	cp.Line.Pages++
	return s.save(ctx, w, done)
}

// of is the owner as its repositories are asked for.
func (w *errand) of() owner {
	return owner{Login: w.cp.Line.Owner, Type: w.cp.OwnerType, Company: w.owner.company()}
}
