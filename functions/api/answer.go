package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/functions/api/table"
)

// Answer is the form of every answer in JSON.
type Answer[T any] struct {
	AsOf        *time.Time `json:"as_of" doc:"The newest reading that the answer rests on; null if there is none."`
	Complete    *bool      `json:"complete" doc:"Whether the last sweep of each owner concerned saw all of it; null where the ledger does not say, as of recorded data."`
	Simulated   bool       `json:"simulated,omitempty" doc:"true where repositories of the answer never were, as in a demo; left out otherwise."`
	TimeZone    string     `json:"time_zone" doc:"Of all times and days in the answer."`
	Definitions []string   `json:"definitions" doc:"The definitions that the figures follow, at /api/v1/definitions."`
	Next        *string    `json:"next" doc:"The cursor of the next page; null on the last, and where there are no pages."`
	Data        T          `json:"data"`
}

// answer makes an Answer of what a state is known of.
func answer[T any](s hot.State, definitions []string, data T) *Answer[T] {
	return &Answer[T]{AsOf: s.AsOf, Complete: s.Complete, Simulated: s.Simulated, TimeZone: "UTC", Definitions: definitions, Data: data}
}

// Common are the parameters of every resource.
type Common struct {
	Format      string `query:"format" enum:"json,csv,ndjson,parquet" doc:"The form of the answer, over what Accept says. CSV, NDJSON and Parquet hold the rows of data alone; the rest is in the headers."`
	Accept      string `header:"Accept" hidden:"true"`
	IfNoneMatch string `header:"If-None-Match" doc:"An ETag: 304 if the answer is still the same."`
}

func (c *Common) common() *Common { return c }

// input is a pointer to a struct of parameters that embeds Common.
type input[I any] interface {
	*I
	common() *Common
}

// maxAge is how long an answer may be taken for new. Repositories are read every hour.
const maxAge = "max-age=30"

// get registers a resource. Its handler returns an Answer, which is sent in the form
// that is asked for, with an ETag by its content.
func get[I, T any, P input[I]](f *function, api huma.API, op huma.Operation, handler func(ctx context.Context, in P) (*Answer[T], error)) {
	op.Method = http.MethodGet
	if op.OperationID == "" {
		op.OperationID = huma.GenerateOperationID(http.MethodGet, op.Path, nil)
	}
	op.Errors = append(op.Errors, http.StatusTooManyRequests, http.StatusServiceUnavailable)
	op.Responses = map[string]*huma.Response{
		"200": {
			Description: "OK",
			Headers:     answerHeaders(),
			Content: map[string]*huma.MediaType{
				table.JSON:    {Schema: huma.SchemaFromType(api.OpenAPI().Components.Schemas, reflect.TypeFor[Answer[T]]())},
				table.NDJSON:  {Schema: &huma.Schema{Type: huma.TypeString, Description: "The rows of data, a JSON object a line."}},
				table.CSV:     {Schema: &huma.Schema{Type: huma.TypeString, Description: "The rows of data under their names; empty where unknown."}},
				table.Parquet: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary", Description: "The rows of data."}},
			},
		},
		"304": {Description: "The answer is the one of If-None-Match."},
	}
	huma.Register(api, op, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
		c := P(in).common()
		form, tags := table.Negotiate(c.Format, c.Accept), c.IfNoneMatch
		c.Format, c.Accept, c.IfNoneMatch = form, "", ""
		return f.reply(ctx, op.OperationID, in, tags, func(ctx context.Context) (reply, error) {
			a, err := handler(ctx, P(in))
			if err != nil {
				return reply{}, err
			}
			body, err := encode(a, form)
			return reply{kind: form, body: body, head: func(out huma.Context) {
				out.SetHeader("Cache-Control", maxAge)
				out.AppendHeader("Vary", "Accept")
				a.head(out)
			}}, err
		})
	})
}

// reply is an answer as it is sent.
type reply struct {
	kind string // its media type
	body []byte
	head func(out huma.Context)
	etag string // by the body
}

// reply answers a question from memory or by ask, with 304 if the caller has the answer.
func (f *function) reply(ctx context.Context, operation string, in any, tags string, ask func(ctx context.Context) (reply, error)) (*huma.StreamResponse, error) {
	question, err := json.Marshal(in)
	if err != nil {
		return nil, f.problem(ctx, err)
	}
	ctx, spent := hot.Timed(ctx)
	got, err := f.memory.of(ctx, operation+" "+string(question), func(ctx context.Context) (any, int, error) {
		r, err := ask(ctx)
		if err != nil {
			return nil, 0, err
		}
		f.failing.Store(nil)
		sum := sha256.Sum256(r.body)
		r.etag = `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
		return r, len(r.body), nil
	})
	if err != nil {
		return nil, f.problem(ctx, err)
	}
	r := got.(reply)
	return &huma.StreamResponse{Body: func(out huma.Context) {
		r.head(out)
		out.SetHeader("ETag", r.etag)
		out.SetHeader("Server-Timing", fmt.Sprintf("clickhouse;dur=%.1f", float64(spent().Microseconds())/1e3))
		if matches(tags, r.etag) {
			out.SetStatus(http.StatusNotModified)
			return
		}
		out.SetHeader("Content-Type", r.kind)
		out.SetStatus(http.StatusOK)
		if _, err := out.BodyWriter().Write(r.body); err != nil {
			slog.Debug("caller went away", "error", err)
		}
	}}, nil
}

// head writes in headers what is not in the rows.
func (a *Answer[T]) head(out huma.Context) {
	if a.AsOf != nil {
		out.SetHeader("M7pulse-As-Of", a.AsOf.UTC().Format(time.RFC3339Nano))
	}
	complete := "unknown"
	if a.Complete != nil && *a.Complete {
		complete = "true"
	} else if a.Complete != nil {
		complete = "false"
	}
	out.SetHeader("M7pulse-Complete", complete)
	if a.Simulated {
		out.SetHeader("M7pulse-Simulated", "true")
	}
	out.SetHeader("M7pulse-Definitions", strings.Join(a.Definitions, ","))
	if a.Next != nil {
		u := out.URL()
		q := u.Query()
		q.Set("cursor", *a.Next)
		next := url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: q.Encode()}
		out.SetHeader("Link", "<"+next.String()+`>; rel="next"`)
	}
}

func answerHeaders() map[string]*huma.Param {
	text := func(doc string) *huma.Param {
		return &huma.Param{Description: doc, Schema: &huma.Schema{Type: huma.TypeString}}
	}
	return map[string]*huma.Param{
		"ETag":                text("Of this form of the answer."),
		"Link":                text(`The next page, rel="next".`),
		"M7pulse-As-Of":       text("as_of; absent where it is null."),
		"Server-Timing":       text("How long ClickHouse took, in ms: clickhouse;dur=1.5."),
		"M7pulse-Complete":    text("complete: true, false or unknown."),
		"M7pulse-Simulated":   text("simulated: true, or left out."),
		"M7pulse-Definitions": text("definitions, separated by commas."),
	}
}

// encode writes an answer in a form.
func encode[T any](a *Answer[T], form string) ([]byte, error) {
	if form == table.JSON {
		body, err := json.Marshal(a)
		return append(body, '\n'), err
	}
	return table.Encode(form, a.Data)
}

// matches says whether one of the tags of If-None-Match is this one.
func matches(header, etag string) bool {
	for tag := range strings.SplitSeq(header, ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return true
		}
	}
	return false
}

// problem is how an error is answered. What the caller did wrong is one already; the
// rest is ClickHouse's, and may be answered later.
func (f *function) problem(ctx context.Context, err error) error {
	var status huma.StatusError
	if errors.As(err, &status) {
		return err
	}
	if errors.Is(err, hot.ErrZone) {
		return invalid("query.tz", err.Error(), "")
	}
	if errors.Is(err, hot.ErrNoRepository) {
		return huma.Error404NotFound(err.Error())
	}
	detail := "the hot store does not answer"
	switch {
	case errors.Is(err, hot.ErrBusy):
		detail = "too many queries at once"
	case errors.Is(err, hot.ErrTimeout):
		detail = "the query took too long: ask for less"
	case errors.Is(err, hot.ErrUnready):
		detail = hot.ErrUnready.Error()
	}
	if ctx.Err() == nil {
		text := err.Error()
		f.failing.Store(&text)
		slog.Warn("the hot store did not answer", "error", err)
	}
	return huma.ErrorWithHeaders(huma.Error503ServiceUnavailable(detail), http.Header{"Retry-After": {"5"}})
}

// invalid is the answer to a parameter that cannot be.
func invalid(location, message, value string) error {
	detail := &huma.ErrorDetail{Message: message, Location: location}
	if value != "" {
		detail.Value = value
	}
	return huma.Error422UnprocessableEntity("validation failed", detail)
}
