package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// asked is the answer to a request; the definitions need no ClickHouse.
func asked(t *testing.T, env map[string]string, requests ...*http.Request) (out []*httptest.ResponseRecorder) {
	t.Helper()
	all := map[string]string{"CLICKHOUSE_READER_URL": "http://127.0.0.1:1"}
	for k, v := range env {
		all[k] = v
	}
	f, err := open(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close(t.Context())
	for _, r := range requests {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		out = append(out, w)
	}
	return out
}

const definitionsPath = "/api/v1/definitions?name=stars"

func request(method, path string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func TestConfigurationThatCannotBeIsRefusedWithoutItsSecrets(t *testing.T) {
	for want, env := range map[string]map[string]string{
		"CLICKHOUSE_READER_URL": {"CLICKHOUSE_READER_URL": "ftp://reader:geheim@host"},
		"API_KEYS":              {"API_KEYS": "page=geheim"},
		"a name is there twice": {"API_KEYS": "page=geheim0123456789abc,page=geheim0123456789abd"},
		"API_RATE":              {"API_RATE": "0"},
		"API_PROXIES":           {"API_PROXIES": "-1"},
		"API_ORIGINS":           {"API_ORIGINS": "https://host/path"},
	} {
		all := map[string]string{"CLICKHOUSE_READER_URL": "http://127.0.0.1:1"}
		for k, v := range env {
			all[k] = v
		}
		_, err := open(t.Context(), all)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%v: %v, want %s named and no secret", env, err, want)
		}
	}
}

func TestWithKeysOnlyTheirHoldersAreAnswered(t *testing.T) {
	env := map[string]string{"API_KEYS": "page=0123456789abcdef,paper=fedcba9876543210"}
	for header, want := range map[string]int{
		"": 401, "Bearer 0123456789abcdef": 200, "Bearer fedcba9876543210": 200, "Bearer 0123456789abcdeX": 401, "Bearer ": 401, "Bearer page": 401, "Basic 0123456789abcdef": 401,
	} {
		w := asked(t, env, request(http.MethodGet, definitionsPath, "Authorization", header))[0]
		if w.Code != want || want == 401 && (w.Header().Get("WWW-Authenticate") == "" || w.Header().Get("Content-Type") != "application/problem+json") {
			t.Errorf("Authorization %q: %d %v, want %d", header, w.Code, w.Header(), want)
		}
	}
	for _, path := range []string{"/", "/openapi.json", "/docs"} {
		if w := asked(t, env, request(http.MethodGet, path))[0]; w.Code != 200 {
			t.Errorf("%s without a key: %d", path, w.Code)
		}
	}
}

func TestEachCallerHasARateOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallers(2)
		count := func(name string, of int) (allowed int) {
			for range of {
				if c.allow(name) {
					allowed++
				}
			}
			return allowed
		}
		if n := count("a", 100); n != 10 {
			t.Errorf("%d requests at once, want five seconds' worth: 10", n)
		}
		if n := count("b", 100); n != 10 {
			t.Errorf("another caller: %d, want 10", n)
		}
		time.Sleep(3 * time.Second)
		if n := count("a", 100); n != 6 {
			t.Errorf("after 3 s %d, want 6", n)
		}
		for i := range maxCallers + 100 {
			c.allow(fmt.Sprint(i))
		}
		if len(c.known) != maxCallers || c.recent.Len() != maxCallers {
			t.Errorf("%d callers are remembered, %d in order; want %d", len(c.known), c.recent.Len(), maxCallers)
		}
	})
}

func TestCallersBeyondTheirRateAreToldWhenToComeAgain(t *testing.T) {
	var requests []*http.Request
	for range 6 {
		requests = append(requests, request(http.MethodGet, definitionsPath, "X-Forwarded-For", "203.0.113.7"))
	}
	requests = append(requests, request(http.MethodGet, definitionsPath, "X-Forwarded-For", "203.0.113.7, 203.0.113.8"))
	answers := asked(t, map[string]string{"API_RATE": "1"}, requests...)
	for i, want := range []int{200, 200, 200, 200, 200, 429, 200} {
		if answers[i].Code != want || want == 429 && answers[i].Header().Get("Retry-After") == "" {
			t.Errorf("request %d: %d %v, want %d", i, answers[i].Code, answers[i].Header(), want)
		}
	}
}

func TestACallerIsWhoTheOutermostOfOurProxiesSaw(t *testing.T) {
	for _, c := range []struct {
		forwarded string
		proxies   int
		want      string
	}{
		{"", 1, "192.0.2.1"}, {"203.0.113.7", 0, "192.0.2.1"}, {"203.0.113.7", 1, "203.0.113.7"},
		{"made up, 203.0.113.7", 1, "203.0.113.7"}, {"made up, 203.0.113.7, 10.0.0.1", 2, "203.0.113.7"}, {"203.0.113.7", 2, "192.0.2.1"},
	} {
		if got := callerAddress(request(http.MethodGet, "/", "X-Forwarded-For", c.forwarded), c.proxies); got != c.want {
			t.Errorf("%q behind %d: %s, want %s", c.forwarded, c.proxies, got, c.want)
		}
	}
}

func TestOnlyPagesOfNamedSitesMayRead(t *testing.T) {
	for _, c := range []struct{ origins, origin, want string }{
		{"", "https://a.example", ""}, {"https://a.example", "https://a.example", "https://a.example"}, {"https://a.example", "https://b.example", ""}, {"*", "https://b.example", "*"}, {"*", "", ""},
	} {
		w := asked(t, map[string]string{"API_ORIGINS": c.origins}, request(http.MethodGet, definitionsPath, "Origin", c.origin))[0]
		if got := w.Header().Get("Access-Control-Allow-Origin"); got != c.want || w.Code != 200 {
			t.Errorf("%q for %q: %d %q, want %q", c.origin, c.origins, w.Code, got, c.want)
		}
	}
	preflight := request(http.MethodOptions, definitionsPath, "Origin", "https://a.example", "Access-Control-Request-Method", "GET")
	w := asked(t, map[string]string{"API_ORIGINS": "https://a.example", "API_KEYS": "page=0123456789abcdef"}, preflight)[0]
	if w.Code != 204 || !strings.Contains(w.Header().Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
}

func TestWhatIsNotThereIsAProblem(t *testing.T) {
	for _, c := range []struct {
		method, path string
		status       int
	}{{"GET", "/api/v1/nothing", 404}, {"GET", "/api/", 404}, {"POST", "/api/v1/repositories", 405}, {"DELETE", "/api/v1/sweeps", 405}, {"POST", "/", 405}} {
		w := asked(t, nil, request(c.method, c.path))[0]
		if w.Code != c.status || w.Header().Get("Content-Type") != "application/problem+json" || c.status == 405 && w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %s: %d %v", c.method, c.path, w.Code, w.Header())
		}
	}
	w := asked(t, nil, request(http.MethodGet, "/api/v1/rankings"))[0]
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("without ClickHouse: %d %v %s", w.Code, w.Header(), w.Body)
	}
}
