package knative

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

// post sends one request to the function, which is started if need be, and
// returns the status of the answer.
func (f *function) post(ctx context.Context, header http.Header, body []byte) (status int, err error) {
	p, err := f.acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { f.release(p, status) }()
	return roundTrip(ctx, f.transport, p.url, p.url.Host, header, body)
}

// postVia posts to a function of another cluster, through that cluster's ingress.
func postVia(cfg Config, transport *http.Transport, function string) poster {
	at := &url.URL{Scheme: "http", Host: cfg.Ingress, Path: "/"}
	host := function + "." + cfg.Topology.Namespace + ".svc.cluster.local"
	return func(ctx context.Context, header http.Header, body []byte) (status int, err error) {
		return roundTrip(ctx, transport, at, host, header, body)
	}
}

func roundTrip(ctx context.Context, transport *http.Transport, at *url.URL, host string, header http.Header, body []byte) (status int, err error) {
	req := (&http.Request{
		Method: http.MethodPost, URL: at, Host: host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}).WithContext(ctx)
	// Not an http.Client: no redirects and cookies, and half the allocations.
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	discard(resp.Body)
	return resp.StatusCode, nil
}

// discard reads what is left of a body, within reason, so that the connection
// can be used again.
func discard(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 64<<10)
	body.Close()
}

// ServeHTTP passes a request on to the function, which is started if need be.
func (f *function) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), f.cfg.StartTimeout)
	p, err := f.acquire(ctx)
	cancel()
	if err != nil {
		w.Header().Set("Retry-After", "5")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	status := 0
	defer func() { f.release(p, status) }()
	// Without it the server closes the request's body when the answer begins,
	// while the transport may still look for its end: the answer is then cut.
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	proxy := &httputil.ReverseProxy{
		Transport: f.transport,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(p.url)
			pr.SetXForwarded()
		},
		ModifyResponse: func(resp *http.Response) error {
			status = resp.StatusCode
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, f.name+" did not answer: "+err.Error(), http.StatusBadGateway)
		},
	}
	proxy.ServeHTTP(w, r)
}

// poster is function.post, or a test's stand-in.
type poster func(ctx context.Context, header http.Header, body []byte) (status int, err error)

// verdict is how the delivery of an event ended.
type verdict int

const (
	delivered verdict = iota // 2xx
	lost                     // given up: the status is not retryable, or there were enough attempts
	halted                   // the source is stopping: undecided
)

// deliver posts an event until it is accepted or given up. halt ends the pauses
// between attempts, ctx the attempts too.
func deliver(ctx context.Context, halt <-chan struct{}, d Delivery, post poster, header http.Header, body []byte, retried func()) (v verdict, status int, err error) {
	for n := 1; ; n++ {
		attempt, cancel := context.WithTimeout(ctx, d.Timeout)
		status, err = post(attempt, header, body)
		cancel()
		switch {
		case err == nil && status/100 == 2:
			return delivered, status, nil
		case ctx.Err() != nil:
			return halted, status, err
		case err == nil && !retryable(status), n > d.Retry:
			return lost, status, err
		}
		pause := time.NewTimer(d.wait(n))
		select {
		case <-pause.C:
			retried()
		case <-halt:
			pause.Stop()
			return halted, status, err
		}
	}
}

// retryable is Knative's set of statuses that are tried again.
func retryable(status int) bool {
	switch status {
	case http.StatusNotFound, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}
