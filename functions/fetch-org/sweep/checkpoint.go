package sweep

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
)

// checkpoint is how far one owner's sweep has come. It alone decides what is done
// next: a request only makes a handler look here.
//
// A sweep finds out what the owner is, reads the list of its repositories, notes
// as missing those that earlier sweeps saw and this one did not, asks for all that
// is missing by id, and lists once more if GitHub counts more than it listed. It
// is open until its ledger line has a status. From then on the line does not
// change, and is published.
type checkpoint struct {
	OwnerType        string   `json:"owner_type"`
	Comparable       bool     `json:"comparable"` // with an earlier sweep, so that new, renamed and gone are known
	Cursor           string   `json:"cursor"`     // in the list, after which to go on; "" at the start
	Named            int      `json:"named"`      // repositories asked for by name, where there is no list
	Failures         int      `json:"failures"`   // at this cursor
	Exhausted        bool     `json:"exhausted"`  // the last page is read
	Compared         bool     `json:"compared"`   // what earlier sweeps saw and this one did not is noted as missing
	SecondPassCursor string   `json:"again"`      // in the second pass
	SecondPassDone   bool     `json:"looked"`
	Looped           bool     `json:"round"`   // the last pass led back to a page that was read before
	Total            *int64   `json:"total"`   // repositories by GitHub's count
	Nulls            int64    `json:"nulls"`   // repositories that GitHub omitted, without their ids
	Unknown          []string `json:"unknown"` // names that no public repository has

	NotBefore   time.Time        `json:"not_before"` // GitHub must not be asked earlier
	Setbacks    int              `json:"setbacks"`   // attempts in a row without progress
	RefusedAt   time.Time        `json:"refused_at"` // since when GitHub refuses every token; zero if it does not
	DeniedUsers []string         `json:"barred"`     // users that may not read the owner
	Worker      int64            `json:"worker"`     // the fencing token of the running attempt; 0 for none
	Line        event.OwnerSwept `json:"line"`       // the ledger line, as far as it is written
	Published   bool             `json:"published"`

	// What the sweep's signals follow from, beside the sets and the line.
	Choice   string  `json:"choice,omitempty"`   // which repositories were to be read: Owner.choice
	Announce bool    `json:"announce,omitempty"` // a sweep of the same choice was complete before: what is new has come since
	Signal   string  `json:"signal,omitempty"`   // the kind of the owner's own signal, "" for none
	Company  *string `json:"company,omitempty"`

	missing int64 // to be asked for by id
}

func (c *checkpoint) closed() bool { return c.Line.Status != "" }

// count brings the ledger line up to the sets' sizes. A line that has its status
// does not change.
func (c *checkpoint) count(reply []any) {
	if c.closed() {
		return
	}
	size := func(i int) int64 { n, _ := reply[i].(int64); return n }
	c.missing = size(0)
	line := &c.Line
	line.Unanswered, line.Seen = size(1), size(2)
	if c.Comparable {
		line.New, line.Renamed = new(size(3)), new(size(4))
		if c.Compared {
			line.Gone = new(size(5))
		}
	}
	if c.Total != nil {
		line.Expected = new(*c.Total - size(6))
	}
}

func decode(r event.FetchRequested, text string) (*checkpoint, error) {
	cp := &checkpoint{Line: event.OwnerSwept{SweepID: r.SweepID, Owner: r.Login}}
	if text == "" {
		return cp, nil
	}
	if err := json.Unmarshal([]byte(text), cp); err != nil {
		return nil, fmt.Errorf("decode checkpoint %s: %w", member(r), err)
	}
	return cp, nil
}

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
