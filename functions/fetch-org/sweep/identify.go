package sweep

import "context"

// identify finds out what the owner is.
func (s *Sweeper) identify(ctx, githubCtx context.Context, a *attempt) error {
	o, err := s.github.Owner(githubCtx, a.request.Login, &a.usage)
	if err != nil {
		return err
	}
	a.cp.OwnerType, a.cp.Line.Owner = o.Type, o.Login
	if a.cp.Comparable, err = s.cache.comparable(ctx, a.request.Login); err != nil {
		return err
	}
	a.cp.Choice = a.owner.choice()
	if a.cp.Announce, err = s.cache.wasWhole(ctx, a.request.Login, a.cp.Choice); err != nil {
		return err
	}
	return s.save(ctx, a, progress{})
}
