package hot

import (
	"fmt"
	"strconv"
	"time"
)

// Terms are what a query of people and flow leaves open. The API fills them with values,
// the dashboards with what Superset puts there: so each figure has one definition.
type Terms struct {
	Newest string // an expression: where the window ends, a DateTime64(3)
	Days   string // an expression: how long the window is
	Where  string // a condition on repo_id
	By     string // an expression whose values are counted apart: Together for none
}

// Together counts everything together.
const Together = "''"

// since is where the window begins.
func (t Terms) since() string { return t.Newest + " - toIntervalDay(" + t.Days + ")" }

// terms are those of a scope's queries, and the arguments of Where.
func (s Scope) terms(newest time.Time, days int) (Terms, []any) {
	where, args := s.where()
	return Terms{
		Newest: fmt.Sprintf("fromUnixTimestamp64Milli(toInt64(%d))", newest.UnixMilli()), Days: strconv.Itoa(days), Where: where, By: Together,
	}, args
}
