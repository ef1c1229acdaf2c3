package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// writeProblem answers with a problem (RFC 9457).
func writeProblem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Del("Content-Length")
	w.WriteHeader(status)
	// The caller may be gone; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: detail})
}

// admit lets a request in that has a key, if keys are asked for, and is within the
// caller's rate.
func (f *function) admit(cfg Config, mux *http.ServeMux) http.Handler {
	keys := hashed(cfg.Keys)
	callers := newCallers(cfg.Rate)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		assistant := r.URL.Path == assistants
		if !strings.HasPrefix(r.URL.Path, "/api/") && !assistant {
			dispatch(mux, w, r)
			return
		}
		// Pictures alone may be shown by pages of other sites: their answers say so.
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if len(cfg.Origins) > 0 {
			h.Add("Vary", "Origin")
		}
		allowed := allow(cfg.Origins, r.Header.Get("Origin"))
		if assistant && allowed == "" && r.Header.Get("Origin") != "" {
			// A page may have made the browser take this address for its own (DNS rebinding).
			writeProblem(w, http.StatusForbidden, "API_ORIGINS does not name the site of this request")
			return
		}
		if allowed != "" {
			h.Set("Access-Control-Allow-Origin", allowed)
			h.Set("Access-Control-Expose-Headers", "ETag, Link, Retry-After, M7pulse-As-Of, M7pulse-Complete, M7pulse-Simulated, M7pulse-Definitions")
			if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
				h.Set("Access-Control-Allow-Methods", "GET, HEAD")
				h.Set("Access-Control-Allow-Headers", "Accept, Authorization, If-None-Match")
				if assistant {
					h.Set("Access-Control-Allow-Methods", "POST")
					h.Set("Access-Control-Allow-Headers", "Accept, Authorization, Content-Type, Mcp-Method, Mcp-Name, Mcp-Protocol-Version")
				}
				h.Set("Access-Control-Max-Age", "600")
				w.WriteHeader(http.StatusNoContent)
				return
			}
		}
		caller := callerAddress(r, cfg.Proxies)
		if len(keys) > 0 {
			name, ok := keys.holder(r)
			if !ok {
				h.Set("WWW-Authenticate", `Bearer realm="M7 Pulse"`)
				writeProblem(w, http.StatusUnauthorized, "want a key: Authorization: Bearer KEY")
				return
			}
			caller = "key " + name
		}
		if !callers.allow(caller) {
			h.Set("Retry-After", "1")
			writeProblem(w, http.StatusTooManyRequests, "too many requests of this caller")
			return
		}
		dispatch(mux, w, r)
	})
}

// dispatch answers by the mux. What the mux itself refuses, a path or a method, becomes a
// problem.
func dispatch(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	h, pattern := mux.Handler(r)
	if pattern != "" {
		mux.ServeHTTP(w, r)
		return
	}
	refusal := refused{header: http.Header{}, status: http.StatusOK}
	h.ServeHTTP(&refusal, r)
	if allowed := refusal.header.Get("Allow"); allowed != "" {
		w.Header().Set("Allow", allowed)
	}
	writeProblem(w, refusal.status, http.StatusText(refusal.status))
}

// refused takes a status and headers, and no body.
type refused struct {
	header http.Header
	status int
}

func (r *refused) Header() http.Header         { return r.header }
func (r *refused) Write(b []byte) (int, error) { return len(b), nil }
func (r *refused) WriteHeader(status int)      { r.status = status }

// keyHashes are the keys that callers may have, hashed, by the name of the holder.
type keyHashes map[string][sha256.Size]byte

func hashed(keys []string) keyHashes {
	out := keyHashes{}
	for _, k := range keys {
		name, key, _ := strings.Cut(k, "=")
		out[name] = sha256.Sum256([]byte(key))
	}
	return out
}

// holder is the name of who sent a request, by its key.
func (k keyHashes) holder(r *http.Request) (name string, ok bool) {
	key, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found {
		return "", false
	}
	sum := sha256.Sum256([]byte(key))
	for n, want := range k { // all of them, so that the time says nothing
		if subtle.ConstantTimeCompare(sum[:], want[:]) == 1 {
			name, ok = n, true
		}
	}
	return name, ok
}

// allow is the value of Access-Control-Allow-Origin, "" if the site may not read.
func allow(origins []string, origin string) string {
	switch {
	case origin == "":
		return ""
	case slices.Contains(origins, "*"):
		return "*"
	case slices.Contains(origins, origin):
		return origin
	}
	return ""
}

// callerAddress is the caller's, as the outermost of our proxies saw it. What stands before
// that in X-Forwarded-For the caller may have made up.
func callerAddress(r *http.Request, proxies int) string {
	var seen []string
	for _, line := range r.Header.Values("X-Forwarded-For") {
		for a := range strings.SplitSeq(line, ",") {
			if a = strings.TrimSpace(a); a != "" {
				seen = append(seen, a)
			}
		}
	}
	if proxies > 0 && len(seen) >= proxies {
		return seen[len(seen)-proxies]
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
