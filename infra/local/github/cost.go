package github

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

// GitHub's limits of one query.
const (
	maxPage  = 100     // first or last of a connection, ids of nodes
	maxNodes = 500_000 // that a query may ask for
)

// price is what a query costs and may return, by GitHub's rules: the requests
// that its connections need if each is as long as its first or last, by the
// hundred. A connection without first or last, which can be asked only for its
// totalCount, needs none.
type price struct{ requests, nodes int64 }

func (p price) points() int64 { return max(1, int64(math.Round(float64(p.requests)/100))) }

func (q *question) price() price {
	var p price
	q.add(&p, 1, q.set)
	return p
}

// add adds what is asked of each of a number of objects.
func (q *question) add(p *price, times int64, sets ...ast.SelectionSet) {
	for _, g := range q.collect("", sets...) {
		f := g.fields[0]
		inner := times
		args := f.ArgumentMap(q.variables)
		if n, ok := page(args); ok && isConnection(f) {
			p.requests += times
			p.nodes += times * n
			inner = times * n
		} else if ids, ok := args["ids"].([]any); ok && f.Name == "nodes" {
			p.nodes += times * int64(len(ids))
			inner = times * int64(len(ids))
		}
		sets := make([]ast.SelectionSet, len(g.fields))
		for i := range g.fields {
			sets[i] = g.fields[i].SelectionSet
		}
		q.add(p, inner, sets...)
	}
}

func isConnection(f *ast.Field) bool {
	return f.Definition != nil && strings.HasSuffix(f.Definition.Type.Name(), "Connection")
}

// page is the first or last of a connection.
func page(args map[string]any) (int64, bool) {
	for _, name := range []string{"first", "last"} {
		if n, ok := number(args[name]); ok {
			return n, true
		}
	}
	return 0, false
}

// Timing is how long GitHub works on a query: Base, and for each repository the
// sum of what is asked of it, times the weight of its owner and of the moment.
// Its zero value answers at once.
type Timing struct {
	Base       time.Duration // a query
	Repository time.Duration // a repository and its scalars
	Items      time.Duration // a count of issues or pull requests
	Count      time.Duration // any other count
	List       time.Duration // a list of languages or topics
	History    time.Duration // a count of commits
	// Noise is the standard deviation of the logarithm of a query's weight, and
	// of an owner's.
	Noise float64
}

// Measured is fitted to page times that users of GitHub have published:
//
//   - 91 repositories, 2 counts of items, languages: 6.4 to 6.7 s;
//   - the same with a count of commits: 8.2 to 10.9 s, most of them killed;
//   - 50 repositories, a count of commits alone: 4.4 to 6.2 s;
//   - 100, 50 and 30 repositories, 2 counts: 8 to 10 s, 4.5 s, 3 s;
//   - 5 repositories, no counts: 0.4 s.
//
// The sources disagree by up to 30 %, as do the model's owners. That a count of
// watchers or releases is cheaper than one of issues is a guess.
func Measured() Timing {
	return Timing{
		Base: 300 * time.Millisecond, Repository: 15 * time.Millisecond,
		Items: 24 * time.Millisecond, Count: 8 * time.Millisecond,
		List: 4 * time.Millisecond, History: 60 * time.Millisecond, Noise: 0.1,
	}
}

// effort is GitHub's work on the parts of a query.
type effort time.Duration

// work adds a part's time, for a repository of an owner.
func (x *execution) work(o *Owner, d time.Duration) { x.cost += effort(float64(d) * o.weight) }

// took is the time of the whole query.
func (x *execution) took(key uint64) time.Duration {
	sum := float64(x.timing.Base) + float64(x.cost)
	return time.Duration(sum * weigh(key, x.timing.Noise))
}

// weigh draws a factor about 1.
func weigh(key uint64, noise float64) float64 {
	return math.Exp(noise * rand.New(rand.NewPCG(key, 1)).NormFloat64())
}

// hash makes a key of texts, the same in every run.
func hash(seed uint64, texts ...string) uint64 {
	h := fnv.New64a()
	var b [8]byte
	for i := range b {
		b[i] = byte(seed >> (8 * i))
	}
	_, _ = h.Write(b[:])
	for _, t := range texts {
		_, _ = h.Write([]byte(t))
		_, _ = h.Write([]byte{0})
	}
	return h.Sum64()
}
