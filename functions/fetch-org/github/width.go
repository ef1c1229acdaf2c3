package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// How wide a page is. GitHub kills a query after 10 s and charges points for it,
// so a page aims at less than half of that; the slowest of its Shape count too.
const (
	aim      = 4500 * time.Millisecond // of the median page
	tooSlow  = 5 * time.Second         // narrower, if the median page takes it
	farToo   = 7 * time.Second         // the same, if one page in twenty takes it
	alarming = 8500 * time.Millisecond // narrower at once
	easy     = 4 * time.Second         // wider, if the median page takes less
	samples  = 20
	quickly  = 3   // samples before the first sign of strain
	slowly   = 1.1 // growth of a width that has strained GitHub before
	fast     = 1.5 // growth of one that has not
	assumed  = 100 * time.Millisecond
)

// width is what has been learnt about one shape: how many repositories one query
// asks for.
type width struct {
	Repos    float64   `json:"repos"`
	Strained bool      `json:"strained"` // GitHub has been slow to answer or has killed a query
	Seconds  []float64 `json:"seconds"`  // per repository, of the last pages at this width, the oldest first
	Typical  float64   `json:"typical"`  // seconds per repository, a moving average
}

// n is the whole number of repositories to ask for.
func (w width) n() int { return max(1, int(w.Repos)) }

// expects how much work a query for n repositories is.
func (w width) expects(n int) time.Duration {
	if w.Typical == 0 {
		return min(time.Duration(n)*assumed, aim)
	}
	return min(time.Duration(float64(n)*w.Typical*float64(time.Second)), pageTimeout)
}

// learn takes in how long a page of n repositories took, or that GitHub killed
// it or cut it short.
func (w width) learn(n int, took time.Duration, killed bool, limit int) width {
	narrow := func(to float64) {
		w.Repos, w.Strained, w.Seconds = min(w.Repos, max(1, to)), true, nil
	}
	if killed {
		narrow(float64(n) / 2)
		return w
	}
	each := took.Seconds() / float64(max(n, 1))
	if 2*n < w.n() && took < alarming { // a small last page says little about a whole one
		return w
	}
	if w.Typical == 0 {
		w.Typical = each
	}
	w.Typical += (each - w.Typical) / 8
	if took >= alarming {
		narrow(float64(n) * aim.Seconds() / took.Seconds())
		return w
	}
	if n < w.n() {
		return w
	}
	w.Seconds = append(w.Seconds, each)
	if !w.Strained && len(w.Seconds) >= quickly {
		if slowest := slices.Max(w.Seconds) * w.Repos; slowest < easy.Seconds()*2/3 {
			w.Repos, w.Seconds = min(w.Repos*min(fast, easy.Seconds()/slowest), float64(limit)), nil
			return w
		}
		w.Strained = true
	}
	if len(w.Seconds) < samples {
		return w
	}
	slices.Sort(w.Seconds)
	median, p95 := w.Seconds[samples/2]*w.Repos, w.Seconds[samples*95/100-1]*w.Repos
	switch {
	case p95 > farToo.Seconds():
		narrow(w.Repos * tooSlow.Seconds() / p95)
	case median > tooSlow.Seconds():
		narrow(w.Repos * aim.Seconds() / median)
	case median < easy.Seconds() && p95*slowly < farToo.Seconds():
		w.Repos = min(w.Repos*min(slowly, aim.Seconds()/median), float64(limit))
	}
	w.Seconds = nil
	return w
}

// widths keeps the width of each shape in Redis. If two replicas learn at the same
// time, one may overwrite the other: then it is learnt a page later.
type widths struct {
	rdb   redis.UniversalClient
	first int // width of the first query of a shape that names none
}

func widthKey(s Shape) string { return "github:pipeline:width:" + s.name }

func (w *widths) of(ctx context.Context, s Shape) (width, error) {
	text, err := w.rdb.Get(ctx, widthKey(s)).Bytes()
	if errors.Is(err, redis.Nil) {
		first := s.first
		if first == 0 {
			first = w.first
		}
		return width{Repos: float64(first)}, nil
	}
	var known width
	if err == nil {
		err = json.Unmarshal(text, &known)
	}
	if err != nil {
		return known, fmt.Errorf("read the width of %s queries: %w", s.name, err)
	}
	return known, nil
}

// learn stores what a page of n repositories has taught. A shape of one repository
// has only its time to learn.
func (w *widths) learn(ctx context.Context, s Shape, n int, took time.Duration, killed bool) error {
	known, err := w.of(ctx, s)
	if err != nil {
		return err
	}
	text, err := json.Marshal(known.learn(n, took, killed, s.max))
	if err != nil {
		return fmt.Errorf("encode the width of %s queries: %w", s.name, err)
	}
	if err := w.rdb.Set(ctx, widthKey(s), text, 30*24*time.Hour).Err(); err != nil {
		return fmt.Errorf("store the width of %s queries: %w", s.name, err)
	}
	return nil
}
