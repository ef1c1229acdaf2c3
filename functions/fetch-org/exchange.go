package fetchorg

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds one answer of GitHub, in bytes: 100 repositories take less
// than 1 MiB.
const maxAnswer = 16 << 20

// exchange is one question to GitHub and its answer. It is the http.RoundTripper
// of a client made for this one question: it signs the question and keeps what
// githubv4 hides of the answer, the status, the headers and the kinds of errors.
type exchange struct {
	transport http.RoundTripper
	token     string
	now       func() time.Time

	status int // 0: no answer
	header http.Header
	at     time.Time // of the answer
	body   answer
}

// never is how many points a header counts that is not there.
const never = -1

// answer is the part of an answer that tells how the question fared.
type answer struct {
	Data    json.RawMessage `json:"data"`
	Message string          `json:"message"` // where the status is an error
	Errors  []struct {
		Type       string `json:"type"`
		Message    string `json:"message"`
		Path       []any  `json:"path"` // to the field that became null
		Extensions struct {
			Code string `json:"code"`
		} `json:"extensions"`
	} `json:"errors"`
}

// resourceLimits is the type of error with which GitHub gives a part of the
// answer and no more.
const resourceLimits = "RESOURCE_LIMITS_EXCEEDED"

func (x *exchange) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "bearer "+x.token)
	r.Header.Set("User-Agent", "m7pulse")
	resp, err := x.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	}
	x.status, x.header, x.at = resp.StatusCode, resp.Header, x.now()
	_ = json.Unmarshal(body, &x.body) // what is no JSON is judged by its status
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// verdict says how the question fared; err is what githubv4 made of it. A nil
// verdict does not mean that every field was answered.
func (x *exchange) verdict(err error) error {
	switch {
	case x.status == 0:
		return &broken{killed: errors.Is(err, context.DeadlineExceeded), cause: err}
	case x.status == http.StatusUnauthorized:
		return errRefused
	case x.status == http.StatusForbidden || x.status == http.StatusTooManyRequests || x.hasError("RATE_LIMITED", "RATE_LIMIT"),
		!x.hasData() && strings.Contains(strings.ToLower(x.body.Message), "rate limit"): // with status 200
		return x.limits()
	case x.status == http.StatusBadGateway || x.status == http.StatusGatewayTimeout:
		return &broken{killed: true, cause: fmt.Errorf("status %d", x.status)}
	case x.status >= 500:
		return &broken{cause: fmt.Errorf("status %d", x.status)}
	case x.status != http.StatusOK:
		return &denied{fmt.Sprintf("GitHub answered status %d: %s", x.status, x.body.Message)}
	case x.answered():
		return nil
	case x.hasError("NOT_FOUND"):
		return errUnknownOwner
	case x.hasError("FORBIDDEN", "INSUFFICIENT_SCOPES", "SAML"):
		return &denied{"GitHub forbids access: " + x.body.Errors[0].Message}
	case x.hasError(resourceLimits):
		return &broken{killed: true, cause: errors.New("GitHub's limit of resources")}
	case len(x.body.Errors) > 0 && x.body.Errors[0].Extensions.Code != "":
		return &denied{"GitHub does not take the query: " + x.body.Errors[0].Message}
	case len(x.body.Errors) > 0:
		return &broken{killed: true, cause: fmt.Errorf("GitHub failed of the query: %s", x.body.Errors[0].Message)}
	}
	return &broken{cause: errors.Join(errors.New("an answer without data"), err)}
}

// limits tells a limit, which passes, from a prohibition. Both are a 403.
func (x *exchange) limits() error {
	switch {
	case x.header.Get("Retry-After") != "":
		seconds, err := strconv.Atoi(x.header.Get("Retry-After"))
		if err != nil {
			return &limited{}
		}
		return &limited{until: x.at.Add(time.Duration(max(seconds, 0)+1) * time.Second)}
	case x.header.Get("X-RateLimit-Remaining") == "0":
		return &limited{until: x.reset()}
	case x.status == http.StatusForbidden && !strings.Contains(strings.ToLower(x.body.Message), "rate limit"):
		return &denied{"GitHub forbids access: " + x.body.Message}
	}
	return &limited{} // GitHub names no time
}

// remaining is how many points the user has left, never if GitHub does not say.
func (x *exchange) remaining() int64 {
	n, err := strconv.ParseInt(x.header.Get("X-RateLimit-Remaining"), 10, 64)
	if err != nil || x.reset().IsZero() {
		return never
	}
	return n
}

// reset is when the points are renewed by our clock, however it differs from
// GitHub's, whose Date tells that. A second is added, for that is how exact they
// are, and going on too early is a breach. It is zero if GitHub does not say.
func (x *exchange) reset() time.Time {
	seconds, err := strconv.ParseInt(x.header.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil || seconds == 0 {
		return time.Time{}
	}
	reset := time.Unix(seconds, 0)
	if date, err := http.ParseTime(x.header.Get("Date")); err == nil {
		reset = reset.Add(x.at.Sub(date))
	}
	return reset.Add(time.Second)
}

// gone says whether GitHub answered null for a node because there is none of
// that id, or none that it shows us any more, as after a transfer to an owner
// that shuts us out; and not because it failed of it.
func (x *exchange) gone(node int) bool {
	for _, e := range x.body.Errors {
		if len(e.Path) == 2 && e.Path[1] == float64(node) {
			return e.Type == "NOT_FOUND" || e.Type == "FORBIDDEN"
		}
	}
	return false
}

// hasData tells an answer from a JSON text that is none.
func (x *exchange) hasData() bool { return len(x.body.Data) > 0 && string(x.body.Data) != "null" }

// answered says whether there is data of which at least one field is not null,
// the rate limit, which is always there, aside.
func (x *exchange) answered() bool {
	var fields map[string]json.RawMessage
	if json.Unmarshal(x.body.Data, &fields) != nil {
		return false
	}
	for name, value := range fields {
		if name != "rateLimit" && string(value) != "null" {
			return true
		}
	}
	return len(x.body.Errors) == 0 && len(fields) > 0
}

func (x *exchange) hasError(types ...string) bool {
	for _, e := range x.body.Errors {
		for _, t := range types {
			if e.Type == t {
				return true
			}
		}
	}
	return false
}
