package sweep

import (
	"strconv"
	"strings"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/portfolio"
)

// index is a sorted set of the sweeps whose ledger line is not published yet, by
// which a wake finds those whose requests got lost.
const index = "github:pipeline:sweeps"

func checkpointKey(r event.FetchRequested) string {
	return "github:pipeline:sweep:" + r.SweepID + ":" + r.Login
}

// The sets of a sweep: ids of repositories, each counted once however often its
// page is read; the fields of repositories that were implausible, as field|id;
// and the pages that were read, by their cursors.
var sets = []string{"seen", "new", "renamed", "gone", "excluded", "odd", "read"}

// sweepKeys are the keys of a sweep, all in one slot: the checkpoint, the
// missing repositories by how often they were asked for, and the sets.
func sweepKeys(r event.FetchRequested) []string {
	keys := []string{checkpointKey(r), "{" + checkpointKey(r) + "}:missing"}
	for _, set := range sets {
		keys = append(keys, "{"+checkpointKey(r)+"}:"+set)
	}
	return keys
}

func repoCacheKey(login string) string { return portfolio.RepositoriesKey(login) }

func lockKey(login string) string { return "github:pipeline:lock:" + login }

// member is a sweep's entry in the index, which keeps an owner's sweeps together,
// in the order of time.
func member(r event.FetchRequested) string { return r.Login + " " + r.SweepID }

func requestsOf(members []string) []event.FetchRequested {
	requests := make([]event.FetchRequested, len(members))
	for i, m := range members {
		requests[i].Login, requests[i].SweepID, _ = strings.Cut(m, " ")
	}
	return requests
}

func field(id int64) string { return strconv.FormatInt(id, 10) }
