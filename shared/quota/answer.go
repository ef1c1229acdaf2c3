package quota

import (
	"errors"
	"net/http"
	"strconv"
	"time"
)

// MaxPause bounds a pause that GitHub asks for. Its limits are by the minute and by
// the hour.
const MaxPause = time.Hour + time.Minute

// Answer is what an answer of GitHub says about its limits.
type Answer struct {
	Header http.Header
	At     time.Time // when it came
}

// Until is when GitHub says that a limit is over; zero if it names no time, or an
// impossible one.
func (a Answer) Until() time.Time {
	text := a.Header.Get("Retry-After")
	if seconds, err := strconv.ParseFloat(text, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return a.after(seconds)
	}
	if date, err := http.ParseTime(text); err == nil {
		return a.LocalTime(date)
	}
	if a.Header.Get("X-RateLimit-Remaining") == "0" {
		return a.reset()
	}
	return time.Time{}
}

// Remaining is how many points the user has left, and until when. ok is false if
// GitHub does not say.
func (a Answer) Remaining() (points int64, reset time.Time, ok bool) {
	n, err := strconv.ParseInt(a.Header.Get("X-RateLimit-Remaining"), 10, 64)
	reset = a.reset()
	return n, reset, err == nil && n >= 0 && !reset.IsZero()
}

// reset is when the points are renewed, zero if GitHub does not say.
func (a Answer) reset() time.Time {
	seconds, err := strconv.ParseInt(a.Header.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return time.Time{}
	}
	if seconds > 1e11 { // of the year 5138: they are milliseconds
		seconds /= 1000
	}
	return a.LocalTime(time.Unix(seconds, 0))
}

// LocalTime converts a time of GitHub's clock to ours. Their difference follows
// from the answer's Date, unless that is more than a day off. It is zero for a time
// that is past.
func (a Answer) LocalTime(at time.Time) time.Time {
	now := a.At
	if date, err := http.ParseTime(a.Header.Get("Date")); err == nil && a.At.Sub(date).Abs() < 24*time.Hour {
		now = date
	}
	return a.after(at.Sub(now).Seconds())
}

// after is the time some seconds after the answer, at most MaxPause; zero
// if there is nothing to wait for. A second is added: GitHub's times are no more
// exact than that, and asking too early breaks the limit.
func (a Answer) after(seconds float64) time.Time {
	if !(seconds > 0) { // or it is NaN
		return time.Time{}
	}
	pause := MaxPause
	if seconds < pause.Seconds() {
		pause = min(time.Duration((seconds+1)*float64(time.Second)), pause)
	}
	return a.At.Add(pause)
}
