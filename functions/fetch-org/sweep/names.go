package sweep

import (
	"context"
	"strings"
)

// readNames reads the next of the repositories that are listed by name. One that
// was found before is followed by its id, whatever its name is by now.
func (s *Sweeper) readNames(ctx, githubCtx context.Context, a *attempt) error {
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
		n, at, err := s.github.Named(githubCtx, a.request.Login, name, &a.usage)
		if err != nil {
			return err
		}
		cp.Line.Pages++
		switch {
		case n == nil || n.DatabaseID == nil || n.IsPrivate:
			cp.Unknown = append(cp.Unknown, name)
		default:
			if done, err = s.observe(ctx, githubCtx, a, []*reading{{Repo: *n, at: at, detailed: true}}); err != nil {
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
