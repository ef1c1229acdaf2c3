package knative

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// iso8601 is a duration without years and months, whose length is not fixed.
var iso8601 = regexp.MustCompile(`^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$`)

// parseDuration reads an ISO 8601 duration such as PT0.3S or P1DT12H.
func parseDuration(text string) (time.Duration, error) {
	parts := iso8601.FindStringSubmatch(text)
	if parts == nil || text[len(text)-1] == 'P' || text[len(text)-1] == 'T' {
		return 0, fmt.Errorf("invalid ISO 8601 duration %q: want one such as PT0.3S", text)
	}
	var d time.Duration
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if parts[i+1] == "" {
			continue
		}
		n, err := strconv.ParseFloat(parts[i+1], 64)
		if err != nil || n > 1e6 {
			return 0, fmt.Errorf("%q is too long a duration", text)
		}
		d += time.Duration(n * float64(unit))
	}
	return d, nil
}
