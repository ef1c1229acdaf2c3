package velocity

const (
	prsOpenedText  = "Pull requests opened: the change of open, merged and closed together. Net of deleted ones."
	acceptanceText = "Pull requests merged over those decided, merged or closed: the CHAOSS Change Request Acceptance ratio. Unknown when none was decided."
)

// pullRequests sets opened = Δ(open + merged + closed) and acceptance =
// Δmerged / (Δmerged + Δclosed).
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
}
