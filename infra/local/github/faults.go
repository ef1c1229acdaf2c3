package github

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Fault is something that goes wrong with one answer.
type Fault func(*answer)

// answer is how one query is answered. Without a fault it is all zeros.
type answer struct {
	instead func(w http.ResponseWriter) // of the data
	killed  bool                        // GitHub gives up after KillAfter, and fines
	limit   int                         // objects that are resolved, 0 for all
	blank   func(i int, id int64) bool  // repositories that are not answered
	cut     float64                     // the part of the body that is sent before the connection breaks; 0 for all
	late    time.Duration               // from the first to the last byte of the body
	banned  time.Duration               // for how long the user is refused
	hour    bool                        // the user's points are spent
	header  map[string]string           // replaces headers of the answer
	edit    func(data any)              // changes the data before it is sent
	round   bool                        // the cursor leads back to a page that was asked for before
}

// Killed is what GitHub's gateway answers for a query of more than 10 s.
func Killed(a *answer) {
	a.killed = true
	a.instead = func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadGateway)
		_, _ = fmt.Fprint(w, "<html><body>We couldn't respond to your request in time.</body></html>")
	}
}

// GatewayTimeout is the other status of a killed query.
func GatewayTimeout(a *answer) {
	a.killed = true
	a.instead = func(w http.ResponseWriter) {
		reply(w, http.StatusGatewayTimeout, map[string]any{"message": "We couldn't respond to your request in time. Sorry about that. Please try resubmitting your request and contact us if the problem persists."})
	}
}

// TimedOut is GitHub's third way to give up on a query.
func TimedOut(a *answer) {
	a.killed = true
	a.instead = func(w http.ResponseWriter) {
		reply(w, http.StatusOK, map[string]any{"data": nil, "errors": []*failure{{Message: "Something went wrong while executing your query. This may be the result of a timeout, or it could be a GitHub bug."}}})
	}
}

// Unavailable is a 502 that comes at once, as in an outage.
func Unavailable(a *answer) {
	a.instead = func(w http.ResponseWriter) {
		reply(w, http.StatusBadGateway, map[string]any{"message": "Server Error"})
	}
}

const secondaryMessage = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."

// Secondary is the answer to a user that asks too much at once.
func Secondary(retryAfter time.Duration) Fault {
	return func(a *answer) {
		a.banned = retryAfter
		a.instead = secondary(http.StatusForbidden, retryAfter)
	}
}

// SecondaryAsOK is the same with status 200, as GitHub's GraphQL may have it.
func SecondaryAsOK(retryAfter time.Duration) Fault {
	return func(a *answer) {
		a.banned = retryAfter
		a.instead = secondary(http.StatusOK, retryAfter)
	}
}

func secondary(status int, retryAfter time.Duration) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		if retryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
		}
		reply(w, status, map[string]any{"message": secondaryMessage, "documentation_url": "https://docs.github.com/graphql/overview/rate-limits-and-node-limits-for-the-graphql-api#secondary-rate-limits"})
	}
}

// Spent takes the user's last points, so that this query meets the limit.
func Spent(a *answer) { a.hour = true }

// Forbidden is the answer to a user whose organization demands more than a token.
func Forbidden(a *answer) {
	a.instead = func(w http.ResponseWriter) {
		reply(w, http.StatusForbidden, map[string]any{"message": "Resource protected by organization SAML enforcement."})
	}
}

// Garbage is an answer that was cut and looks whole.
func Garbage(a *answer) {
	a.instead = func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"data":{"organization":{"repositories":{"totalCount":7,"nodes":[{"id":`)
	}
}

// Maintenance is a page for people where an answer should be.
func Maintenance(a *answer) {
	a.instead = func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, "<!DOCTYPE html><html><body>GitHub is undergoing maintenance.</body></html>")
	}
}

// Reset breaks the connection before there is an answer.
func Reset(a *answer) {
	a.instead = func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
}

// Cut breaks the connection after a part of the body, between 0 and 1.
func Cut(part float64) Fault { return func(a *answer) { a.cut = part } }

// Slow sends the body in drips, over a time.
func Slow(d time.Duration) Fault { return func(a *answer) { a.late = d } }

// Starved ends a query at GitHub's resource limit, after a number of objects:
// the data is there up to that point, with one error of the type
// RESOURCE_LIMITS_EXCEEDED.
func Starved(objects int) Fault { return func(a *answer) { a.limit = objects } }

// Blank leaves the i-th repository of each list null, with an error that has
// no type.
func Blank(i int) Fault {
	return func(a *answer) { a.blank = func(at int, _ int64) bool { return at == i } }
}

// Unauthorized refuses a good token, as GitHub does now and then.
func Unauthorized(a *answer) {
	a.instead = func(w http.ResponseWriter) {
		reply(w, http.StatusUnauthorized, map[string]any{"message": "Bad credentials", "documentation_url": "https://docs.github.com/rest"})
	}
}

// Limited is a limit in any status, wording and headers. A body that does not
// begin like JSON is sent as HTML. Unlike with Secondary, who asks again too
// soon is answered.
func Limited(status int, header map[string]string, message string) Fault {
	return func(a *answer) {
		a.header = header
		a.instead = func(w http.ResponseWriter) {
			if strings.HasPrefix(message, "<") {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				w.WriteHeader(status)
				_, _ = fmt.Fprint(w, message)
				return
			}
			reply(w, status, map[string]any{"message": message, "documentation_url": "https://developer.github.com/v3/#abuse-rate-limits"})
		}
	}
}

// LimitedError is a limit among the errors of an answer with status 200.
func LimitedError(kind, message string) Fault {
	return func(a *answer) {
		a.instead = func(w http.ResponseWriter) {
			reply(w, http.StatusOK, map[string]any{"data": nil, "errors": []*failure{{Type: kind, Message: message}}})
		}
	}
}

// Headers replaces headers of an answer that is otherwise as it should be.
func Headers(header map[string]string) Fault { return func(a *answer) { a.header = header } }

// Odd replaces fields of every repository in the answer that was asked for its
// name.
func Odd(fields map[string]any) Fault {
	return func(a *answer) {
		a.edit = func(data any) {
			each(data, func(object map[string]any) {
				if _, ok := object["nameWithOwner"]; !ok {
					return
				}
				for name, value := range fields {
					if _, asked := object[name]; asked {
						object[name] = value
					}
				}
			})
		}
	}
}

// Round ends a page with the first cursor after which the owner was asked, so
// that the list loops.
func Round(a *answer) { a.round = true }

// roundTo sets the cursor of every page in the data.
func roundTo(cursor string) func(data any) {
	return func(data any) {
		each(data, func(object map[string]any) {
			if info, ok := object["pageInfo"].(map[string]any); ok {
				info["hasNextPage"], info["endCursor"] = true, cursor
			}
		})
	}
}

// each calls f for every object in the data.
func each(data any, f func(map[string]any)) {
	switch v := data.(type) {
	case map[string]any:
		f(v)
		for _, inner := range v {
			each(inner, f)
		}
	case []any:
		for _, inner := range v {
			each(inner, f)
		}
	}
}

// oddities are answers that GitHub has given to somebody once, or that one
// digit too many would make of them.
func oddities(rng *rand.Rand) Fault {
	past := map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1000000000"}
	const abuse = "You have triggered an abuse detection mechanism. Please wait a few minutes before you try again."
	all := []Fault{
		Unauthorized, Unauthorized, Round, Round,
		Limited(http.StatusForbidden, nil, abuse),
		Limited(http.StatusForbidden, map[string]string{"Retry-After": "10000000000"}, secondaryMessage),
		Limited(http.StatusTooManyRequests, map[string]string{"Retry-After": "-1"}, secondaryMessage),
		Limited(http.StatusForbidden, past, "API rate limit exceeded for user ID 1."),
		Limited(http.StatusTooManyRequests, nil, "<html><body>You have exceeded a secondary rate limit.</body></html>"),
		Limited(http.StatusForbidden, nil, "Something is not right."),
		LimitedError("", secondaryMessage),
		Headers(map[string]string{"X-RateLimit-Reset": "99999999999999999"}),
		Headers(map[string]string{"Date": "Mon, 01 Jan 0001 00:00:00 GMT"}),
		Odd(map[string]any{"pushedAt": "0001-01-01T00:00:00Z", "createdAt": "0000-00-00T00:00:00Z"}),
		Odd(map[string]any{"openIssues": map[string]any{"totalCount": -1}, "description": strings.Repeat("x", 20_000)}),
		Odd(map[string]any{"stargazerCount": -1}),
	}
	return all[rng.IntN(len(all))]
}

// Weather is how often each fault befalls a query, from 0 to 1. Which fault a
// query meets depends on the seed, on the query, and on how often it was asked
// before, so not on which of two at once came first.
type Weather struct {
	Seed                                                   uint64
	Killed, Unavailable, TimedOut, Secondary, Spent        float64
	Starved, Blank, Cut, Slow, Garbage, Maintenance, Reset float64
	Odd                                                    float64 // of many kinds
	// Storms: in each hour GitHub is unavailable for a time of this length at
	// most, 0 for never.
	Storms time.Duration
}

// storm says whether there is one at a time.
func (w *Weather) storm(at time.Time) bool {
	if w.Storms <= 0 {
		return false
	}
	hour := at.Truncate(time.Hour)
	rng := rand.New(rand.NewPCG(w.Seed, uint64(hour.Unix())))
	from := hour.Add(time.Duration(rng.Float64() * float64(time.Hour-w.Storms)))
	return !at.Before(from) && at.Before(from.Add(time.Duration(rng.Float64()*float64(w.Storms))))
}

// fault draws what befalls a query; nil for nothing.
func (w *Weather) fault(key uint64) Fault {
	rng := rand.New(rand.NewPCG(w.Seed, key))
	draw := rng.Float64()
	next := func(chance float64) bool {
		draw -= chance
		return draw < 0
	}
	switch {
	case next(w.Killed):
		return []Fault{Killed, GatewayTimeout}[rng.IntN(2)]
	case next(w.Unavailable):
		return Unavailable
	case next(w.TimedOut):
		return TimedOut
	case next(w.Secondary):
		d := []time.Duration{0, 5 * time.Second, time.Minute, 3 * time.Minute}[rng.IntN(4)]
		return []Fault{Secondary(d), SecondaryAsOK(d)}[rng.IntN(2)]
	case next(w.Spent):
		return Spent
	case next(w.Starved):
		return Starved(1 + rng.IntN(100))
	case next(w.Blank):
		chosen := rng.Uint64()
		return func(a *answer) {
			a.blank = func(_ int, id int64) bool { return hash(chosen, strconv.FormatInt(id, 10))%4 == 0 }
		}
	case next(w.Cut):
		return Cut(rng.Float64())
	case next(w.Slow):
		return Slow(time.Duration(rng.IntN(20)) * time.Second)
	case next(w.Garbage):
		return Garbage
	case next(w.Maintenance):
		return Maintenance
	case next(w.Reset):
		return Reset
	case next(w.Odd):
		return oddities(rng)
	}
	return nil
}
