package pipeline

import (
	"context"
	"errors"
	"fmt"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
)

// ErrOwner says that an account owns repositories that are stored.
var ErrOwner = errors.New("owns repositories that are stored")

// Forget deletes every event in which the accounts of a login act, or are the author of
// what is acted on, from both stores, and returns the ids of these accounts. The
// pipeline must be at rest. It may be repeated after a failure: what ClickHouse knows of
// the login says what to delete elsewhere, so it is deleted there last.
func (p *Pipeline) Forget(ctx context.Context, login string) (ids []int64, err error) {
	spelt, _, err := sinkclickhouse.OwnerData(ctx, p.Hot, login)
	if err != nil {
		return nil, err
	}
	if len(spelt) > 0 {
		return nil, fmt.Errorf("%s %w", login, ErrOwner)
	}
	if ids, _, err = sinkclickhouse.AccountsOf(ctx, p.Hot, login); err != nil {
		return nil, err
	}
	if err := sinkiceberg.Forget(ctx, p.Cold, ids); err != nil {
		return nil, err
	}
	return ids, sinkclickhouse.Forget(ctx, p.Hot, ids)
}
