package sweep

import "context"

// incomplete says whether the sweep may have missed repositories: GitHub counts
// more than it has seen, or does not count them, omitted some without their ids,
// or its list did not end.
func (a *attempt) incomplete() bool {
	line := &a.cp.Line
	return len(a.owner.Repos) == 0 && (a.cp.Nulls > 0 || a.cp.Looped || line.Expected == nil || line.Seen+line.Unanswered < *line.Expected)
}

// readAgain lists the owner's repositories once more, by ids alone, to find those
// that moved to a page that was read already, or that GitHub omitted.
func (s *Sweeper) readAgain(ctx, githubCtx context.Context, a *attempt) error {
	cp := a.cp
	p, err := s.github.ListIDs(githubCtx, a.of(), cp.SecondPassCursor, 0, &a.usage)
	if err != nil {
		return err
	}
	nodes := map[int64]string{}
	var ids []int64
	for _, n := range p.Nodes {
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
	cp.Nulls += int64(p.Nulls)
	if cp.Looped, err = s.isLoop(ctx, a, "again ", cp.SecondPassCursor, p.Next, p.Stuck, &done); err != nil {
		return err
	}
	if cp.Looped {
		p.Next = ""
	}
	cp.SecondPassCursor, cp.SecondPassDone, cp.Failures, cp.Total = p.Next, p.Next == "", 0, p.Total
	cp.Line.Pages++
	return s.save(ctx, a, done)
}
