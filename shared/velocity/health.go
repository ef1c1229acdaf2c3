package velocity

// healthLeast is how many parts a score needs.
const healthLeast = 2

// health sets each part that is known, 0 to 100, and their mean.
func (r *reading) health(v *Velocities) {
	if active, observed := v.Int(ActiveDays(Month)), v.Int(ObservedDays(Month)); active != nil && observed != nil {
		v.SetFloat(HealthActivity, 100*float64(*active)/float64(*observed))
	}
	if days := v.Float(DaysSincePush); days != nil {
		v.SetFloat(HealthMaintenance, graded(*days, 7, 30, 90, 180))
	}
	if index := v.Float(BacklogIndex(Month)); index != nil {
		v.SetFloat(HealthClosure, 100*min(1, *index))
	}
	if ratio := v.Float(PRAcceptanceRatio(Month)); ratio != nil {
		v.SetFloat(HealthAcceptance, 100**ratio)
	}
	if days := v.Float(DaysSinceRelease); days != nil {
		v.SetFloat(HealthRelease, graded(*days, 30, 90, 180, 365))
	}
	var parts int64
	var sum float64
	for f := HealthActivity; f <= HealthRelease; f++ {
		if part := v.Float(f); part != nil {
			parts, sum = parts+1, sum+*part
		}
	}
	v.SetInt(HealthParts, parts)
	if parts >= healthLeast {
		v.SetFloat(HealthScore, sum/float64(parts))
	}
}

// graded is 100 up to the first bound, and 25 less at each.
func graded(x float64, bounds ...float64) float64 {
	grade := 100.0
	for _, b := range bounds {
		if x <= b {
			return grade
		}
		grade -= 25
	}
	return 0
}
