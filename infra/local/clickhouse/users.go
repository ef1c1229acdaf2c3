package clickhouse

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/chdb"
)

const fullUser = "default"

// authenticate says whether the request comes from the reader, or refuses it. The engine itself knows one user only.
func (s *server) authenticate(r *http.Request) (reader bool, err error) {
	user, password, ok := r.BasicAuth()
	if !ok {
		user, password = r.Header.Get("X-ClickHouse-User"), r.Header.Get("X-ClickHouse-Key")
	}
	if q := r.URL.Query(); user == "" {
		user, password = q.Get("user"), q.Get("password")
	}
	same := func(a, b string) bool {
		x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
		return subtle.ConstantTimeCompare(x[:], y[:]) == 1
	}
	switch {
	case (user == "" || user == fullUser) && (s.cfg.Password == "" || same(password, s.cfg.Password)):
		return false, nil
	case user != "" && user == s.cfg.Reader.User && same(password, s.cfg.Reader.Password):
		return true, nil
	}
	return false, refuse(codeAuthentication, "%s: Authentication failed: password is incorrect, or there is no user with such name", firstOf(user, fullUser))
}

// limitReader refuses what readonly=1 lets through but a reader may not do, and returns the settings of the request with the reader's limits over them.
// With readonly=1 alone, the engine still reads files of the host (the function file, DESCRIBE file(…)) and kills the queries of others.
func (s *server) limitReader(req *request) (map[string]string, error) {
	if !slices.Contains([]string{"SELECT", "WITH", "(", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN"}, req.verb) || req.insert != nil {
		return nil, refuse(codeReadonly, "%s: Cannot execute query in readonly mode", s.cfg.Reader.User)
	}
	for _, name := range req.calls {
		if s.outside[name] {
			return nil, refuse(codeReadonly, "%s: %s is not for readers", s.cfg.Reader.User, name)
		}
	}
	limits := map[string]int64{
		"max_execution_time": max(1, int64(s.cfg.Reader.MaxExecutionTime/time.Second)),
		"max_memory_usage":   s.cfg.Reader.MaxMemory,
	}
	settings := map[string]string{}
	for name, value := range req.settings {
		if limit, ok := limits[name]; ok { // less is welcome
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n <= 0 || n > limit {
				return nil, refuse(codeReadonly, "Cannot modify '%s' setting in readonly mode beyond %d", name, limit)
			}
			limits[name] = n
			continue
		}
		if name != "readonly" && !slices.Contains(harmlessSettings(), name) {
			return nil, refuse(codeReadonly, "Cannot modify '%s' setting in readonly mode", name)
		}
		settings[name] = value
	}
	for name, limit := range limits {
		settings[name] = strconv.FormatInt(limit, 10)
	}
	settings["readonly"] = "1"
	return settings, nil
}

// harmlessSettings are those that clients send unasked, and that change the form of an answer, never what may be read.
func harmlessSettings() []string {
	return []string{
		"enable_http_compression", "network_compression_method", "send_progress_in_http_headers", "http_headers_progress_interval_ms",
		"cancel_http_readonly_queries_on_client_close", "date_time_input_format", "date_time_output_format", "extremes", "final",
		"max_result_rows", "result_overflow_mode", "max_block_size",
	}
}

// functionsOutside lists, in small letters, the functions that read or write outside the database: every table function but a few, and the functions
// file and catboostEvaluate.
func functionsOutside(conn *chdb.Conn) (map[string]bool, error) {
	list, _, err := conn.Query("SELECT lower(name) FROM system.table_functions", "TSV", nil)
	if err != nil {
		return nil, fmt.Errorf("list the engine's table functions: %w", err)
	}
	outside := map[string]bool{"file": true, "catboostevaluate": true}
	for name := range strings.Lines(string(list)) {
		outside[strings.TrimSpace(name)] = true
	}
	for _, name := range []string{
		"numbers", "numbers_mt", "zeros", "zeros_mt", "primes", "generateseries", "generate_series", "values", "null", "view", "merge", "format",
	} {
		delete(outside, name)
	}
	return outside, nil
}
