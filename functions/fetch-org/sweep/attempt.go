package sweep

import (
	"context"
	"time"

	"github.com/m7pulse/m7pulse/functions/fetch-org/github"
	"github.com/m7pulse/m7pulse/shared/event"
)

// leaseTTL is how long an owner stays locked after its handler crashed.
const leaseTTL = 10 * time.Second

// attempt is what one handler does of one owner's sweep, under one lease.
type attempt struct {
	request event.FetchRequested
	owner   Owner // as it is listed
	token   int64
	cp      *checkpoint
	usage   github.Usage // its cost is not yet in the ledger line
	began   time.Time
	read    int           // pages
	slowest time.Duration // of these pages
	tries   int           // failed ones since the last page
}

// of is the owner as its repositories are asked for.
func (a *attempt) of() github.Owner {
	return github.Owner{Login: a.cp.Line.Owner, Type: a.cp.OwnerType}
}

// save stores the attempt's checkpoint, with what its questions have cost, and what
// a step adds. It fails with errFenced if a later attempt has claimed it.
func (s *Sweeper) save(ctx context.Context, a *attempt, p progress) error {
	a.cp.Line.Points += a.usage.Points
	a.cp.Line.KilledPages += a.usage.Killed
	a.usage.Points, a.usage.Killed = 0, 0
	a.cp.DeniedUsers = a.usage.Denied
	return s.sweeps.save(ctx, a.request, a.token, a.cp, p)
}
