package assistant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// API is where the tools ask.
type API struct {
	// Base is the address before /api/v1; it may change while the server runs.
	Base   func() (string, error)
	Client *http.Client
	Key    string // for Authorization, if the API asks for keys
}

// maxBody bounds what is read of one answer of the API.
const maxBody = 16 << 20

// answered is an answer of the API, with data as it came.
type answered struct {
	AsOf        *string         `json:"as_of"`
	Complete    *bool           `json:"complete"`
	Simulated   bool            `json:"simulated"`
	Definitions []string        `json:"definitions"`
	Next        *string         `json:"next"`
	Data        json.RawMessage `json:"data"`

	source string
}

// get asks for a resource below /api/v1. A problem becomes an error that says what to
// do about it.
func (a API) get(ctx context.Context, resource string, query url.Values) (answered, error) {
	var out answered
	base, err := a.Base()
	if err != nil {
		return out, fmt.Errorf("find the API: %w", err)
	}
	address := strings.TrimSuffix(base, "/") + "/api/v1/" + resource
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return out, fmt.Errorf("ask the API for %s: %w", resource, err)
	}
	req.Header.Set("Accept", "application/json")
	if a.Key != "" {
		req.Header.Set("Authorization", "Bearer "+a.Key)
	}
	resp, err := a.Client.Do(req)
	if err != nil {
		return out, fmt.Errorf("ask the API for %s: %w", resource, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return out, fmt.Errorf("read the API's answer for %s: %w", resource, err)
	}
	if resp.StatusCode != http.StatusOK {
		return out, problem(resp, body)
	}
	if len(body) > maxBody {
		return out, fmt.Errorf("the API's answer for %s has more than %d MiB", resource, maxBody>>20)
	}
	if err := json.Unmarshal(body, &out); err != nil {
		return out, fmt.Errorf("read the API's answer for %s: %w", resource, err)
	}
	out.source = resp.Request.URL.RequestURI() // behind redirects: a repository may have been renamed
	return out, nil
}

// problem says what the API refused, and what can be done about it.
func problem(resp *http.Response, body []byte) error {
	var p struct {
		Detail string `json:"detail"`
		Errors []struct {
			Message  string `json:"message"`
			Location string `json:"location"`
			Value    any    `json:"value"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &p) != nil || p.Detail == "" {
		p.Detail = http.StatusText(resp.StatusCode)
	}
	text := []string{p.Detail}
	for _, e := range p.Errors {
		at := e.Location
		if e.Value != nil {
			at += fmt.Sprintf(" %.100v", e.Value)
		}
		text = append(text, plain(at+": "+e.Message, maxText))
	}
	switch resp.StatusCode {
	case http.StatusNotFound:
		text = append(text, "the tool top with name finds repositories by a part of their name, trends lists companies and owners")
	case http.StatusUnauthorized:
		text = append(text, "the person who set this server up has to give it a key")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		wait := resp.Header.Get("Retry-After")
		if wait == "" {
			wait = "5"
		}
		text = append(text, "ask again in "+wait+" seconds")
	}
	return errors.New(plain(strings.Join(text, "; "), 4*maxText))
}

// answer is an Answer with what the API said beside its data.
func (a answered) answer(data any) Answer {
	definitions := a.Definitions
	if definitions == nil {
		definitions = []string{}
	}
	return Answer{AsOf: a.AsOf, Complete: a.Complete, Simulated: a.Simulated, Definitions: definitions, Source: a.source, Truncated: a.Next != nil, Data: data}
}

// decoded reads data without loss: a repo_id of recorded data is larger than a float holds.
func (a answered) decoded() (any, error) {
	d := json.NewDecoder(strings.NewReader(string(a.Data)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("read the API's data: %w", err)
	}
	return v, nil
}

// bounded shortens texts and lists, and writes a repo_id as a text: many assistants have
// no integers beyond 2^53.
func (a *Answer) bounded(v any) any {
	switch v := v.(type) {
	case string:
		return plain(v, maxText)
	case []any:
		if len(v) > maxList {
			v, a.Truncated = v[:maxList], true
		}
		for i := range v {
			v[i] = a.bounded(v[i])
		}
		return v
	case map[string]any:
		for name, value := range v {
			if n, ok := value.(json.Number); ok && name == "repo_id" {
				v[name] = n.String()
				continue
			}
			v[name] = a.bounded(value)
		}
	}
	return v
}

// plain is a text of at most so many characters without those that are not seen: control
// characters, marks of direction, and tags, in which a text can hide another.
func plain(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r', r == '\t':
			return ' '
		case unicode.Is(unicode.C, r), unicode.Is(unicode.Variation_Selector, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}
