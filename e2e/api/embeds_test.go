package api_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each picture, feed and answer for other sites is as it was.
func TestEmbedsAreThoseOnRecord(t *testing.T) {
	server := started(t, nil)
	for name, path := range map[string]string{
		"badge.svg":         "/api/v1/repositories/acme/steady/badge.svg?field=stars_delta_24h",
		"counter.svg":       "/api/v1/repositories/acme/steady/badge.svg?field=stars",
		"rate.svg":          "/api/v1/repositories/acme/steady/badge.svg?field=stars_per_day_24h&label=steady+%3Cb%3E",
		"outofdate.svg":     "/api/v1/repositories/gone/gone/badge.svg?field=stars",
		"unknown.svg":       "/api/v1/repositories/acme/steady/badge.svg?field=stars_delta_30d",
		"badge.json":        "/api/v1/repositories/acme/steady/badge.json?field=stars_delta_24h",
		"owner.svg":         "/api/v1/owners/ACME/badge.svg?field=stars_delta_24h",
		"company.svg":       "/api/v1/companies/acme/badge.svg?field=stars",
		"company.json":      "/api/v1/companies/acme/badge.json?field=forks&label=of+acme",
		"card.svg":          "/api/v1/repositories/acme/steady/card.svg?days=15",
		"ownercard.svg":     "/api/v1/owners/acme/card.svg?days=4&theme=dark",
		"companycard.svg":   "/api/v1/companies/gone/card.svg?days=3&theme=light",
		"signals.atom":      "/api/v1/signals.atom",
		"signalsof.atom":    "/api/v1/signals.atom?company=acme&severity=notice&kind=transferred",
		"nosignals.atom":    "/api/v1/signals.atom?repository=acme/.github",
		"oembed.json":       "/api/v1/oembed?url=http%3A%2F%2Fpulse.example%2F%3Fview%3Drepository%26name%3Dacme%2Fsteady",
		"oembedsmall.json":  "/api/v1/oembed?maxwidth=210&maxheight=500&url=http%3A%2F%2Fpulse.example%2F%3Fview%3Downer%26name%3Dacme%26window%3D30d",
		"oembedothers.json": "/api/v1/oembed?url=http%3A%2F%2Fevil.example%2F%3Fview%3Downer%26name%3Dacme",
		"oembednow.json":    "/api/v1/oembed?url=http%3A%2F%2Fpulse.example%2F%3Fview%3Dnow",
	} {
		t.Run(name, func(t *testing.T) {
			a := getAs(t, server, "pulse.example", path)
			if a.status >= 500 {
				t.Fatalf("%d %s", a.status, a.body) // nothing to put on record
			}
			golden := filepath.Join("testdata", "embeds", name)
			if *update {
				if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, []byte(a.body), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if a.body != string(want) {
				t.Errorf("GET %s differs from %s:\n%s", path, golden, a.body)
			}
		})
	}
}

// getAs asks as a proxy does that names the host which the caller asked for.
func getAs(t *testing.T, server *httptest.Server, host, path string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// elements are the names of the elements of a document, and its texts. It has no
// instructions, entities or comments.
func elements(t *testing.T, document string) (names map[string]int, said string) {
	t.Helper()
	names = map[string]int{}
	for d := xml.NewDecoder(strings.NewReader(document)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return names, said
		}
		if err != nil {
			t.Fatalf("%v in %s", err, document)
		}
		switch token := token.(type) {
		case xml.StartElement:
			names[token.Name.Local]++
		case xml.CharData:
			said += string(token)
		case xml.Directive, xml.Comment:
			t.Fatalf("%T in %s", token, document)
		}
	}
}

func TestTextsOfStrangersAreTextInEmbeds(t *testing.T) {
	server := started(t, nil)
	feed := get(t, server, "/api/v1/signals.atom?repository=acme/after")
	names, said := elements(t, feed.body)
	if names["script"] != 0 || names["entry"] != 1 || !strings.Contains(said, hostile) {
		t.Errorf("%v, %s", names, feed.body)
	}
	badge := get(t, server, "/api/v1/repositories/acme/steady/badge.svg?label="+url.QueryEscape(hostile+"\"'></text><image href=x>"))
	if names, said := elements(t, badge.body); badge.status != 200 || names["script"]+names["image"] != 0 || !strings.Contains(said, "<script>") {
		t.Errorf("%v, %s", names, badge.body)
	}
	shield := get(t, server, "/api/v1/repositories/acme/steady/badge.json?label="+url.QueryEscape(hostile))
	var read struct{ Label string }
	if err := json.Unmarshal([]byte(shield.body), &read); err != nil || read.Label != hostile {
		t.Errorf("%s, %v", shield.body, err)
	}
	for _, name := range []string{hostile, "acme/steady\"><script>alert(1)</script>", "acme/'", "<b>/<i>"} {
		at := "http://pulse.example/?view=repository&name=" + url.QueryEscape(name)
		if a := getAs(t, server, "pulse.example", "/api/v1/oembed?url="+url.QueryEscape(at)); a.status != 404 {
			t.Errorf("%q: %d %s", name, a.status, a.body)
		}
	}
	host := `evil.example"onload="alert(1)`
	at := "http://" + host + "/?view=owner&name=acme"
	if a := getAs(t, server, host, "/api/v1/oembed?url="+url.QueryEscape(at)); strings.Contains(a.body, `"onload`) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// Pictures may be shown anywhere and do nothing; nothing else may be shown by others.
func TestOnlyPicturesMayBeEmbedded(t *testing.T) {
	server := started(t, nil)
	for path, may := range map[string]bool{
		"/api/v1/repositories/acme/steady/badge.svg": true, "/api/v1/companies/acme/card.svg": true,
		"/api/v1/repositories/acme/steady/badge.json": false, "/api/v1/signals.atom": false, "/api/v1/companies": false, "/api/v1/nothing": false, "/api/v1/owners/nobody/card.svg": false,
	} {
		a := get(t, server, path)
		policy, resource := a.header.Get("Content-Security-Policy"), a.header.Get("Cross-Origin-Resource-Policy")
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "script") || strings.Contains(policy, "frame-ancestors 'none'") == may || (resource == "cross-origin") != may || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d, policy %q, resource policy %q", path, a.status, policy, resource)
		}
	}
	if a := get(t, server, "/"); !strings.Contains(a.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Errorf("the page: %q", a.header.Get("Content-Security-Policy"))
	}
}

func TestEmbedsAreCached(t *testing.T) {
	server := started(t, nil)
	for path, kind := range map[string]string{
		"/api/v1/repositories/acme/steady/badge.svg": "image/svg+xml", "/api/v1/owners/acme/badge.json": "application/json", "/api/v1/companies/acme/card.svg": "image/svg+xml", "/api/v1/signals.atom": "application/atom+xml",
	} {
		a := get(t, server, path)
		etag := a.header.Get("ETag")
		if a.status != 200 || a.header.Get("Content-Type") != kind || a.header.Get("Cache-Control") != "max-age=300" || etag == "" || a.header.Get("M7pulse-As-Of") == "" || a.header.Get("M7pulse-Complete") == "" {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
		if again := get(t, server, path, "If-None-Match", etag); again.status != 304 || again.body != "" {
			t.Errorf("%s with its ETag: %d", path, again.status)
		}
	}
}

// Who is sent on to a repository's name of today is asked the same question there.
func TestARedirectKeepsWhatWasAskedFor(t *testing.T) {
	server := started(t, nil)
	for path, want := range map[string]string{
		"/series?counter=forks&mode=indexed": "/series?counter=forks&mode=indexed",
		"/badge.svg?field=stars":             "/badge.svg?field=stars",
		"/badge.json?label=a%26b":            "/badge.json?label=a%26b",
		"/card.svg?theme=dark":               "/card.svg?theme=dark",
		"?format=csv":                        "?format=csv",
	} {
		if a := get(t, server, "/api/v1/repositories/acme/before"+path); a.status != 301 || a.header.Get("Location") != "/api/v1/repositories/acme/after"+want {
			t.Errorf("%s: %d to %q, want 301 to …%s", path, a.status, a.header.Get("Location"), want)
		}
	}
}

// A view of the page says how another site embeds it.
func TestThePageNamesItsEmbed(t *testing.T) {
	server := started(t, nil)
	for path, want := range map[string]string{
		"/?view=repository&name=acme/steady": `</api/v1/oembed?url=https%3A%2F%2Fpulse.example%2F%3Fview%3Drepository%26name%3Dacme%2Fsteady>; rel="alternate"; type="application/json+oembed"; title="M7 Pulse"`,
		"/":                                  "", "/?view=health": "",
	} {
		a := getAs(t, server, "pulse.example", path, "X-Forwarded-Proto", "https")
		link := ""
		for _, l := range a.header.Values("Link") {
			if !strings.Contains(l, "rel=preload") {
				link = l
			}
		}
		if a.status != 200 || link != want {
			t.Errorf("%s: %d, Link %q", path, a.status, link)
		}
		if want == "" {
			continue
		}
		address, _, _ := strings.Cut(strings.TrimPrefix(link, "<"), ">")
		if e := getAs(t, server, "pulse.example", address, "X-Forwarded-Proto", "https"); e.status != 200 || !strings.Contains(e.body, `https://pulse.example/api/v1/repositories/acme/steady/card.svg`) {
			t.Errorf("%s: %d %s", address, e.status, e.body)
		}
	}
}

// A cache must not give the answer for one site to a page of another.
func TestAnswersDifferBySite(t *testing.T) {
	server := started(t, map[string]string{"API_ORIGINS": "https://good.example"})
	for _, origin := range []string{"", "https://good.example"} {
		vary := strings.Join(get(t, server, "/api/v1/companies", "Origin", origin).header.Values("Vary"), ",")
		if !strings.Contains(vary, "Origin") || !strings.Contains(vary, "Accept") {
			t.Errorf("from %q: Vary %q", origin, vary)
		}
	}
}
