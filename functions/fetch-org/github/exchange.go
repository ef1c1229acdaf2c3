package github

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/shared/quota"
)

// maxAnswer bounds one answer of GitHub, in bytes: 100 repositories take less
// than 1 MiB.
const maxAnswer = 16 << 20

// maxText bounds how much of a text is searched where JSON should be, in bytes.
const maxText = 64 << 10

// exchange is one question to GitHub and its answer. It is the http.RoundTripper
// of a client made for this one question: it signs the question and keeps what
// githubv4 hides of the answer, the status, the headers and the kinds of errors.
type exchange struct {
	transport http.RoundTripper
	token     string

	status int // 0: no answer
	header http.Header
	at     time.Time // of the answer
	body   answer
	text   string // of an answer that is not meant to be JSON, such as a page for people
}

// answer is the part of an answer that says whether the question succeeded.
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

// resourceLimits is the type of the error with which GitHub gives only part of an
// answer.
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
	x.status, x.header, x.at = resp.StatusCode, resp.Header, time.Now()
	if json.Unmarshal(body, &x.body) != nil && !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		x.text = string(body[:min(len(body), maxText)]) // mentionsLimit looks at it
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// classify turns an answer into an error of its kind; err is what githubv4 made of
// it. A nil result does not mean that every field was answered.
func (x *exchange) classify(err error) error {
	switch {
	case x.status == 0:
		return &NoAnswerError{Killed: errors.Is(err, context.DeadlineExceeded), Cause: err}
	case x.limits():
		return &RateLimitedError{Until: x.limitsOf().Until()}
	case x.status == http.StatusUnauthorized:
		return quota.ErrRefused
	case x.status == http.StatusForbidden:
		return &deniedError{"GitHub forbids access: " + Brief(x.body.Message+x.text)}
	case x.status == http.StatusBadGateway || x.status == http.StatusGatewayTimeout:
		return &NoAnswerError{Killed: true, Cause: fmt.Errorf("status %d", x.status)}
	case x.status >= 500:
		return &NoAnswerError{Cause: fmt.Errorf("status %d", x.status)}
	case x.status != http.StatusOK:
		return &deniedError{fmt.Sprintf("GitHub answered status %d: %s", x.status, Brief(x.body.Message+x.text))}
	case x.answered():
		return nil
	case x.hasError("NOT_FOUND"):
		return ErrUnknownOwner
	case x.hasError("FORBIDDEN", "INSUFFICIENT_SCOPES", "SAML"):
		return &deniedError{"GitHub forbids access: " + Brief(x.body.Errors[0].Message)}
	case x.hasError(resourceLimits):
		return &NoAnswerError{Killed: true, Cause: errors.New("GitHub's resource limit was exceeded")}
	case len(x.body.Errors) > 0 && x.body.Errors[0].Extensions.Code != "":
		return &deniedError{"GitHub rejects the query: " + Brief(x.body.Errors[0].Message)}
	case len(x.body.Errors) > 0:
		return &NoAnswerError{Killed: true, Cause: fmt.Errorf("GitHub could not execute the query: %s", Brief(x.body.Errors[0].Message))}
	}
	return &NoAnswerError{Cause: errors.Join(errors.New("an answer without data"), err)}
}

// limits says whether the answer is a rate limit, which passes, and not a denial.
// Both can be a 403; a limit can have any status, and show in a header, in the type
// of an error, or only in its words.
func (x *exchange) limits() bool {
	switch {
	case x.status == http.StatusTooManyRequests, x.hasError("RATE_LIMITED", "RATE_LIMIT"):
		return true
	case x.status >= 400 && x.header.Get("Retry-After") != "":
		return true
	case x.status == http.StatusForbidden && x.header.Get("X-RateLimit-Remaining") == "0":
		return true
	}
	return !x.answered() && x.mentionsLimit()
}

func (x *exchange) mentionsLimit() bool {
	said := []string{x.body.Message, x.text}
	for _, e := range x.body.Errors {
		said = append(said, e.Message)
	}
	for _, text := range said {
		text = strings.ToLower(text)
		for _, words := range []string{"rate limit", "abuse detection", "too many requests", "you have exceeded", "wait a few minutes"} {
			if strings.Contains(text, words) {
				return true
			}
		}
	}
	return false
}

func (x *exchange) limitsOf() quota.Answer { return quota.Answer{Header: x.header, At: x.at} }

// gone says whether GitHub answered null for a node because none has that id, or
// because we may not see it any more, as after a transfer to an owner that denies
// us; and not because the query failed.
func (x *exchange) gone(node int) bool {
	for _, e := range x.body.Errors {
		if len(e.Path) == 2 && e.Path[1] == float64(node) {
			return e.Type == "NOT_FOUND" || e.Type == "FORBIDDEN"
		}
	}
	return false
}

// hasData distinguishes an answer from any other JSON text.
func (x *exchange) hasData() bool { return len(x.body.Data) > 0 && string(x.body.Data) != "null" }

// answered says whether at least one field of the data is not null, apart from the
// rate limit, which is always there.
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

// cost is what the answer says about its cost. GitHub prefers that clients read it
// from the headers.
func (x *exchange) cost(work time.Duration, limit *rateLimit, err error) quota.Cost {
	c := quota.Cost{Work: work, Clean: err == nil}
	if n, reset, ok := x.limitsOf().Remaining(); ok {
		c.Known, c.Remaining, c.Reset = true, n, reset
	} else if limit != nil {
		c.Remaining, c.Reset = int64(limit.Remaining), x.limitsOf().LocalTime(limit.ResetAt.Time)
		c.Known = c.Remaining >= 0 && !c.Reset.IsZero()
	}
	var l *RateLimitedError
	if errors.As(err, &l) {
		c.Rest, c.Penalty = l.Until, l.Until.IsZero()
	}
	return c
}
