package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/m7pulse/m7pulse/audit"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// Why Forget refuses.
var (
	// ErrOwner says that an account owns repositories that are stored.
	ErrOwner = errors.New("owns repositories that are stored")
	// ErrNotStored says that Kafka may be the only place of events of others.
	ErrNotStored = errors.New("the stores do not hold what Kafka has of events")
)

// Forgotten is what was deleted of a person.
type Forgotten struct {
	Accounts []int64 // ids of those that have had the login
	Records  int64   // of github.events, of others too
}

// Forget deletes every event in which the accounts of a login act, or are the author of
// what is acted on, from Kafka and both stores. at is a snapshot at rest.
//
// Kafka deletes the oldest records of a partition and no others: so all go up to the
// last that names the person. Before that both stores must have been found to hold
// them. keepKafka leaves Kafka alone.
//
// It may be repeated after a failure: what ClickHouse knows of the login says what to
// delete elsewhere, so it is deleted there last.
func (p *Pipeline) Forget(ctx context.Context, at *Snapshot, login string, keepKafka bool) (f Forgotten, err error) {
	spelt, _, err := sinkclickhouse.OwnerData(ctx, p.Hot, login)
	if err != nil {
		return f, err
	}
	if len(spelt) > 0 {
		return f, fmt.Errorf("%s %w", login, ErrOwner)
	}
	if f.Accounts, _, err = sinkclickhouse.AccountsOf(ctx, p.Hot, login); err != nil {
		return f, err
	}
	if !keepKafka {
		if f, err = p.forgetRecords(ctx, at, login, f.Accounts); err != nil {
			return f, err
		}
	}
	if err := sinkiceberg.Forget(ctx, p.Cold, f.Accounts); err != nil {
		return f, err
	}
	return f, sinkclickhouse.Forget(ctx, p.Hot, f.Accounts)
}

// forgetRecords deletes from Kafka; stored are the accounts that ClickHouse knows.
func (p *Pipeline) forgetRecords(ctx context.Context, at *Snapshot, login string, stored []int64) (f Forgotten, err error) {
	accounts, err := p.Log.Accounts(ctx, at.ends, login)
	if err != nil {
		return f, err
	}
	for _, id := range stored {
		accounts[id] = true
	}
	f.Accounts = slices.Sorted(maps.Keys(accounts))
	behind, err := p.Log.Behind(ctx, at.ends, accounts)
	if err != nil || len(behind) == 0 {
		return f, err
	}
	log := p.Log
	if len(stored) == 0 {
		log.Forgotten = accounts // they were deleted from the stores before
	}
	_, differences, err := audit.Events(ctx, log, audit.Moment{Ends: at.ends, Events: at.events})
	if err != nil {
		return f, err
	}
	if len(differences) > 0 {
		return f, fmt.Errorf("%w: %s", ErrNotStored, strings.Join(differences[:min(len(differences), 3)], "; "))
	}
	f.Records, err = kafka.DeleteBefore(ctx, p.Log.Kafka, behind)
	return f, err
}
