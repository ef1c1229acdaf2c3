package velocity

const (
	issuesOpenedText = "Issues opened: the change of open and closed together. Net: deleted and transferred ones are taken off."
	closureText      = "Issues closed over the mean of those open at the end of each day of the window: the CHAOSS Change Request Closure Ratio, " +
		"which does not say open when. Unknown when none was open or closed ones were reopened on balance."
	backlogText = "Issues closed over issues opened: the Backlog Management Index, 1 is steady. Unknown when none was opened. " +
		"The backlog's growth itself is open_issues_delta."

	prsOpenedText  = "Pull requests opened: the change of open, merged and closed together. Net of deleted ones."
	acceptanceText = "Pull requests merged over those decided, merged or closed: the CHAOSS Change Request Acceptance ratio. Unknown when none was decided."
)

// issues sets what the two counters of issues tell: opened = Δ(open + closed),
// closure ratio = Δclosed / mean(open), backlog index = Δclosed / opened.
func (r *reading) issues(v *Velocities) {
	for s := Day; s <= Month; s++ {
		b := r.bases[s]
		open, okOpen := r.now.delta(OpenIssues, b)
		closed, okClosed := r.now.delta(ClosedIssues, b)
		if !okOpen || !okClosed {
			continue
		}
		opened := open + closed
		v.SetInt(IssuesOpened(s), opened)
		if opened > 0 && closed >= 0 {
			v.SetFloat(BacklogIndex(s), float64(closed)/float64(opened))
		}
		if mean := r.mean(OpenIssues, b.At); mean > 0 && closed >= 0 {
			v.SetFloat(IssueClosureRatio(s), float64(closed)/mean)
		}
	}
}

// mean is the mean of a value over the last readings of the days from a time on
// to now.
func (r *reading) mean(value Value, from int64) float64 {
	sum, n := float64(0), float64(0)
	for p := range r.days(from / day) {
		if x := p.Values[value]; x != Unobserved {
			sum, n = sum+float64(x), n+1
		}
	}
	return sum / n
}

// pullRequests sets opened = Δ(open + merged + closed), acceptance =
// Δmerged / (Δmerged + Δclosed), and commits per merged one.
func (r *reading) pullRequests(v *Velocities) {
	for s := Day; s <= Month; s++ {
		b := r.bases[s]
		merged, okMerged := r.now.delta(MergedPRs, b)
		closed, okClosed := r.now.delta(ClosedPRs, b)
		if !okMerged || !okClosed {
			continue
		}
		if merged >= 0 && closed >= 0 && merged+closed > 0 {
			v.SetFloat(PRAcceptanceRatio(s), float64(merged)/float64(merged+closed))
		}
		if open, ok := r.now.delta(OpenPRs, b); ok {
			v.SetInt(PRsOpened(s), open+merged+closed)
		}
	}
	merged, okMerged := r.now.delta(MergedPRs, r.bases[Month])
	commits, okCommits := r.now.delta(CommitsTotal, r.bases[Month])
	if okMerged && okCommits && merged > 0 && commits >= 0 {
		v.SetFloat(CommitsPerMergedPR, float64(commits)/float64(merged))
	}
}
