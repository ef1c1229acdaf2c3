package pipeline

import (
	"context"
	"slices"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
)

// Owner is an owner whose data is deleted.
type Owner struct {
	Login string
	Spelt []string // the login, in each spelling that was stored
	Repos []int64
}

// Purge deletes what the stores hold of an owner, and returns how many repositories
// it had. The pipeline must be at rest, and nothing more be read of the owner. It may
// be repeated after a failure.
func (p *Pipeline) Purge(ctx context.Context, login string) (repos int, err error) {
	o := Owner{Login: login}
	if o.Spelt, o.Repos, err = sinkclickhouse.OwnerData(ctx, p.Hot, login); err != nil {
		return 0, err
	}
	for _, s := range slices.Backward(p.stages) {
		if err := s.Purge(ctx, o); err != nil {
			return 0, err
		}
	}
	return len(o.Repos), nil
}
