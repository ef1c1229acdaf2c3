package velocity

const releasesText = "New releases over 30 days, per week: CHAOSS Release Frequency. A proxy for DORA's deployment frequency: a release is not a deployment. " +
	"Tags without a release are unseen."

// releases sets the release frequency and the ages of the last release and push.
func (r *reading) releases(v *Velocities) {
	if perDay, ok := rate(r.now, r.bases[Month], Releases); ok {
		v.SetFloat(ReleasesPerWeek, 7*perDay)
	}
	r.since(v, DaysSincePush, PushedAt)
	r.since(v, DaysSinceRelease, ReleasedAt)
}

// since sets the days from a moment that was read to the reading.
func (r *reading) since(v *Velocities, f Field, moment Value) {
	if at := r.now.Values[moment]; at != Unobserved && at <= r.now.At {
		v.SetFloat(f, float64(r.now.At-at)/float64(day))
	}
}
