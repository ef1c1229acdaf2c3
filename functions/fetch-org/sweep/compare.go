package sweep

import "context"

// compare notes as missing what earlier sweeps saw and this one has not. Each is
// asked for by id: it may be gone, have moved, or have been overlooked.
func (s *Sweeper) compare(ctx context.Context, a *attempt) error {
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
