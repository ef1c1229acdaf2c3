package sweep

import (
	"fmt"
	"strconv"
	"strings"
)

// progress is what a step adds to its sweep.
type progress struct {
	Seen        []string `json:"seen"`
	New         []string `json:"new"`
	Renamed     []string `json:"renamed"`
	Gone        []string `json:"gone"`
	Excluded    []string `json:"excluded"`
	Missing     []string `json:"missing"` // to be asked for by id, unless they are seen by then
	Failed      []string `json:"failed"`  // the missing that were asked for without an answer
	Settled     []string `json:"settled"` // those that are no longer missing
	Implausible []string `json:"odd"`
	Read        []string `json:"read"`
}

// implausible adds fields of a repository whose values were implausible.
func (p *progress) implausible(fields []string, id string) {
	for _, f := range fields {
		p.Implausible = append(p.Implausible, f+"|"+id)
	}
}

// merge joins what two parts of a step add.
func (p progress) merge(q progress) progress {
	return progress{
		Seen: append(p.Seen, q.Seen...), New: append(p.New, q.New...), Renamed: append(p.Renamed, q.Renamed...),
		Gone: append(p.Gone, q.Gone...), Excluded: append(p.Excluded, q.Excluded...), Missing: append(p.Missing, q.Missing...),
		Failed: append(p.Failed, q.Failed...), Settled: append(p.Settled, q.Settled...),
		Implausible: append(p.Implausible, q.Implausible...), Read: append(p.Read, q.Read...),
	}
}

// missing is a repository that the list left out.
type missing struct {
	id   int64
	node string
}

func (m missing) String() string { return field(m.id) + "|" + m.node }

func parseMissing(text string) (m missing, err error) {
	id, node, ok := strings.Cut(text, "|")
	if m.id, err = strconv.ParseInt(id, 10, 64); err != nil || !ok {
		return m, fmt.Errorf("invalid entry %q in the set of missing repositories", text)
	}
	m.node = node
	return m, nil
}
