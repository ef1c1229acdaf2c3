package api

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/m7pulse/m7pulse/functions/api/assistant"
)

// assistants is where assistants ask, by the Model Context Protocol over HTTP.
const assistants = "/mcp"

// maxCall bounds the body of a call of a tool.
const maxCall = 64 << 10

// assistantHandler answers assistants. No session outlives its request, so any replica
// answers any request, and none has to stay up for an assistant. The tools ask the
// resources of mux in this process.
func assistantHandler(mux *http.ServeMux) http.Handler {
	server := assistant.New(assistant.API{
		Base:   func() (string, error) { return "http://in-process", nil },
		Client: &http.Client{Transport: inProcess{mux}},
	})
	calls := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{
		Stateless: true, JSONResponse: true, MaxRequestBodyBytes: maxCall, PropagateRequestCancellation: true, Logger: slog.New(slog.DiscardHandler),
		// Its guard takes the proxy in Knative's pod, which asks from loopback, for an
		// attack. admit looks at Origin instead.
		DisableLocalhostProtection: true,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Old versions of the protocol have batches: many calls at the price of one.
		body := bufio.NewReader(r.Body)
		if first, err := firstOf(body); err == nil && first == '[' {
			writeProblem(w, http.StatusBadRequest, "a batch of calls: want one call in each request")
			return
		}
		r.Body = struct {
			io.Reader
			io.Closer
		}{body, r.Body}
		calls.ServeHTTP(w, r)
	})
}

// firstOf is the first byte that is not white space. All that is before it is read.
func firstOf(r *bufio.Reader) (byte, error) {
	for {
		b, err := r.ReadByte()
		if err != nil || !strings.ContainsRune(" \t\r\n", rune(b)) {
			return b, errors.Join(err, r.UnreadByte())
		}
	}
}

// inProcess answers the requests of a client by a handler, without a connection.
type inProcess struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r = r.Clone(r.Context())
		r.Body = http.NoBody
	}
	w := &written{header: http.Header{}, status: http.StatusOK}
	p.handler.ServeHTTP(w, r)
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

// written keeps what a handler writes.
type written struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *written) Header() http.Header         { return w.header }
func (w *written) Write(b []byte) (int, error) { return w.body.Write(b) }
func (w *written) WriteHeader(status int)      { w.status = status }
