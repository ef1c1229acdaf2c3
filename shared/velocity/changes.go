package velocity

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
