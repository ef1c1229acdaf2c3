package hot

// Compared is one repository beside others.
type Compared struct {
	Series
	Index         *float64 `json:"index"`           // stars now, where those of the first day read are 100
	ShareOfGrowth *float64 `json:"share_of_growth"` // of the net stars over 30 days of all that grew, 0 to 1
}

// Compare puts repositories side by side.
func Compare(repositories []Series) []Compared {
	var grown int64
	for _, s := range repositories {
		if s.Stars30d != nil && *s.Stars30d > 0 {
			grown += *s.Stars30d
		}
	}
	out := make([]Compared, len(repositories))
	for i, s := range repositories {
		out[i].Series = s
		out[i].Index = last(Index(s.Days))
		if s.Stars30d != nil && *s.Stars30d > 0 {
			out[i].ShareOfGrowth = new(float64(*s.Stars30d) / float64(grown))
		}
	}
	return out
}

// first is the oldest value that is known.
func first(days []*float64) *float64 {
	for _, v := range days {
		if v != nil {
			return v
		}
	}
	return nil
}

// last is the newest value that is known.
func last(days []*float64) *float64 {
	for i := len(days) - 1; i >= 0; i-- {
		if days[i] != nil {
			return days[i]
		}
	}
	return nil
}
