package sweep

import (
	"time"

	"github.com/m7pulse/m7pulse/functions/fetch-org/github"
	"github.com/m7pulse/m7pulse/shared/repo"
)

// reading is a repository as GitHub answered it, on its way to an observation.
type reading struct {
	github.Repo
	at       time.Time   // when GitHub answered
	detailed bool        // languages and topics were asked for with the counters
	asked    int         // how often it has been asked for by id; 0 when it was listed
	cached   *cachedRepo // by earlier sweeps; nil if new
	next     *cachedRepo // for later ones
}

// setHistory stores what GitHub counted.
func (r *reading) setHistory(h *github.History, at time.Time) {
	var whole bool
	if r.next.Commits, r.next.MergedPRs, whole = h.Counts(); whole {
		r.next.HistoryAt = at
	}
}

// setDetails stores the details that came with the counters, if they did.
func (r *reading) setDetails() {
	if languages, topics, ok := r.Values(); ok {
		r.next.Languages, r.next.Topics, r.next.DetailsAt = languages, topics, r.at
	}
}

// complete says whether all that an observation holds is known. Once GitHub has
// been asked maxAsks times, a count may be null, and details may be those of the
// cache.
func (r *reading) complete() bool {
	last := r.asked >= maxAsks
	if r.next.DetailsAt.IsZero() && last && r.cached != nil {
		r.next.Languages, r.next.Topics, r.next.DetailsAt = r.cached.Languages, r.cached.Topics, r.cached.DetailsAt
	}
	return !r.next.DetailsAt.IsZero() && (last || !r.next.HistoryAt.IsZero())
}

// observation is the reading in the form that is published. What GitHub left
// null stays nil.
func (r *reading) observation(a *attempt) repo.Observation {
	v := r.Observation()
	v.OwnerType, v.Company = a.cp.OwnerType, a.owner.company()
	v.Languages, v.Topics = r.next.Languages, r.next.Topics
	v.MergedPRs, v.CommitsTotal = r.next.MergedPRs, r.next.Commits
	v.ObservedAt, v.SweepID, v.Source = r.at, a.request.SweepID, "graphql"
	v.Normalize()
	return v
}
