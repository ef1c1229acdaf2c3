package knative

import (
	"errors"
	"fmt"
	"strings"
)

// faults gathers all that is wrong with the manifests, so that a person mends
// them in one go.
type faults struct{ lines []string }

// add notes a fault: the file, the place in it, and what is wrong.
func (f *faults) add(file, place, format string, args ...any) {
	line := file
	if place != "" {
		line += ": " + place
	}
	// A decoder's message may span lines and name its own inner steps.
	reason := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	reason = strings.TrimPrefix(reason, "error unmarshaling JSON: while decoding JSON: json: ")
	f.lines = append(f.lines, line+": "+reason)
}

func (f *faults) err() error {
	if len(f.lines) == 0 {
		return nil
	}
	return errors.New(strings.Join(f.lines, "\n"))
}
