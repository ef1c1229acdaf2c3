package sweep

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/m7pulse/m7pulse/functions/fetch-org/github"
)

// readMissing asks for missing repositories by id.
func (s *Sweeper) readMissing(ctx, githubCtx context.Context, a *attempt) error {
	wide, err := s.github.Width(ctx, github.ShapeNodes)
	if err != nil {
		return err
	}
	// Fewer after each failure, down to the one that GitHub cannot answer for.
	n := max(1, wide>>min(a.cp.Failures, 7))
	some, asked, err := s.sweeps.missing(ctx, a.request, n)
	if err != nil {
		return err
	}
	ids := make([]string, len(some))
	for i, m := range some {
		ids[i] = m.node
	}
	answers, err := s.github.Nodes(githubCtx, ids, &a.usage)
	var bad *github.NoAnswerError
	if errors.As(err, &bad) && (bad.Killed || bad.Unreadable) && len(some) == 1 {
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
		case answer.Gone || answer.Node != nil && !a.owns(answer.Node):
			done.Settled = append(done.Settled, some[i].String())
			gone = append(gone, some[i].id)
		case answer.Node == nil || answer.Node.DatabaseID == nil:
			done.Failed = append(done.Failed, some[i].String())
		default:
			readings = append(readings, &reading{Repo: *answer.Node, at: answer.At, detailed: true, asked: asked[i] + 1})
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
		return &github.NoAnswerError{Cause: fmt.Errorf("none of %d repositories", len(some))}
	}
	return nil
}

// owns says whether a repository is still a public one of the owner.
func (a *attempt) owns(n *github.Repo) bool {
	login, _, _ := strings.Cut(n.NameWithOwner, "/")
	return !n.IsPrivate && (strings.EqualFold(login, a.request.Login) || len(a.owner.Repos) > 0)
}
