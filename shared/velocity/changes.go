package velocity

const milestoneText = "The highest of 1k, 5k, 10k, 25k, 50k, 100k, 250k and 500k stars that was passed since the reading before. Absent when none was."

// changes marks what makes a series look other than it is.
func (r *reading) changes(v *Velocities) {
	if r.before == nil {
		return
	}
	v.SetBool(IsRenamed, r.now.differs(Name, r.before))
	if _, ok := r.now.delta(Branch, r.before); ok {
		v.SetBool(IsBranchChanged, r.now.differs(Branch, r.before))
	}
	if commits, ok := r.now.delta(CommitsTotal, r.before); ok {
		v.SetBool(IsHistoryRewritten, commits < 0 && !r.now.differs(Branch, r.before))
	}
}

// milestone sets the highest mark m with x(before) < m ≤ x(now).
func (r *reading) milestone(v *Velocities) {
	if r.before == nil || !r.comparable(r.before, r.now) {
		return
	}
	for _, mark := range [...]int64{1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000} {
		if r.before.Values[Stars] < mark && mark <= r.now.Values[Stars] {
			v.SetInt(Milestone, mark)
		}
	}
}
