package api_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

var update = flag.Bool("update", false, "write the answers to testdata instead of comparing with them")

// One answer of each kind is as it was. A field may be added; go test -update writes it.
func TestAnswersAreThoseOnRecord(t *testing.T) {
	server := started(t, nil)
	for name, path := range map[string]string{
		"repositories":  "/api/v1/repositories?sort=-stars&limit=3&fields=name_with_owner,company,stars,forks,stars_per_day_24h,observed_at",
		"repository":    "/api/v1/repositories/acme/steady",
		"series":        "/api/v1/repositories/acme/steady/series?from=2026-01-05&to=2026-01-09",
		"indexed":       "/api/v1/repositories/acme/steady/series?from=2026-01-07&to=2026-01-09&mode=indexed",
		"companies":     "/api/v1/companies?window=24h",
		"company":       "/api/v1/companies/acme",
		"companyseries": "/api/v1/companies/acme/series?from=2026-01-07&to=2026-01-09",
		"owners":        "/api/v1/owners?window=24h&limit=2",
		"owner":         "/api/v1/owners/gone",
		"ownerseries":   "/api/v1/owners/page/series?from=2026-01-12&to=2026-01-15&counter=forks",
		"languages":     "/api/v1/languages?window=24h",
		"rankings":      "/api/v1/rankings?window=24h&each=1",
		"compare":       "/api/v1/compare?repos=acme/steady,acme/after&days=2",
		"compareold":    "/api/v1/compare?repos=acme/steady,gone/gone&days=2", // gone's changes end days ago
		"sweeps":        "/api/v1/sweeps",
		"signals":       "/api/v1/signals",
		"signalsof":     "/api/v1/signals?repository=acme/steady&kind=breakout,renamed&severity=notice&from=2026-01-15&to=2026-01-15",
		"freshness":     "/api/v1/freshness",
		"overview":      "/api/v1/overview?window=24h&days=4",
		"notyet":        "/api/v1/overview?window=30d&days=2&limit=1",
		"ofcompany":     "/api/v1/overview?window=24h&days=3&company=acme&field=stars",
		"ofowner":       "/api/v1/overview?window=24h&days=2&owner=page&limit=1",
		"ofnobody":      "/api/v1/overview?company=nobody",
		"lines":         "/api/v1/lines?kind=company&fields=stars,forks&days=3",
		"linesindexed":  "/api/v1/lines?kind=repository&names=acme/steady,acme/nothing&days=4&mode=indexed",
		"linesmarked":   "/api/v1/lines?kind=repository&names=acme/steady,acme/after&fields=stars,forks&days=2&signals=1",
		"linesofowner":  "/api/v1/lines?kind=owner&names=acme,gone&days=8&signals=9",
		"linesofnoname": "/api/v1/lines?kind=language&names=,go&days=2",
		"outofdate":     "/api/v1/repositories?current=false&fields=name_with_owner",
		"namedlike":     "/api/v1/repositories?name=STEAD&fields=name_with_owner",
		"definitions":   "/api/v1/definitions?name=stars,stars_per_day_7d",
		"problem":       "/api/v1/repositories?sort=stars&limit=0",
		"missing":       "/api/v1/repositories/acme/nothing",
	} {
		t.Run(name, func(t *testing.T) {
			a := get(t, server, path)
			if a.status >= 500 {
				t.Fatalf("%d %s", a.status, a.body) // nothing to put on record
			}
			var got bytes.Buffer
			if err := json.Indent(&got, []byte(a.body), "", "  "); err != nil {
				t.Fatalf("%d %s: %v", a.status, a.body, err)
			}
			golden := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("GET %s differs from %s:\n%s", path, golden, got.String())
			}
		})
	}
}

type page struct {
	Next *string `json:"next"`
	Data []struct {
		RepoID  int64  `json:"repo_id"`
		SweepID string `json:"sweep_id"`
		Owner   string `json:"owner"`
	} `json:"data"`
}

func read[T any](t *testing.T, server *httptest.Server, path string) (v T) {
	t.Helper()
	a := get(t, server, path)
	if err := json.Unmarshal([]byte(a.body), &v); err != nil || a.status != 200 {
		t.Fatalf("GET %s: %d %v\n%s", path, a.status, err, a.body)
	}
	return v
}

// Whatever pages are cut by, they hold each repository once, in the order of one page.
func TestPagesHoldEachRepositoryOnceInOneOrder(t *testing.T) {
	server := started(t, nil)
	for _, sort := range []string{"-stars", "forks", "-forks", "name_with_owner", "-company", "stars_per_day_7d", "-observed_at", "is_archived", "description"} {
		whole := read[page](t, server, "/api/v1/repositories?limit=1000&fields=repo_id&sort="+sort)
		if len(whole.Data) != 33 || whole.Next != nil {
			t.Fatalf("by %s: %d repositories, next %v; want 33 and none", sort, len(whole.Data), whole.Next)
		}
		for _, limit := range []int{7} {
			var got []int64
			cursor := ""
			for pages := 0; ; pages++ {
				p := read[page](t, server, fmt.Sprintf("/api/v1/repositories?limit=%d&fields=repo_id&sort=%s&cursor=%s", limit, sort, cursor))
				for _, r := range p.Data {
					got = append(got, r.RepoID)
				}
				if p.Next == nil {
					break
				}
				if cursor = *p.Next; pages > 40 {
					t.Fatalf("by %s: no end of pages", sort)
				}
			}
			var want []int64
			for _, r := range whole.Data {
				want = append(want, r.RepoID)
			}
			if !slices.Equal(got, want) {
				t.Errorf("by %s in pages of %d:\n%v\nwant\n%v", sort, limit, got, want)
			}
		}
	}
	var sweeps []string
	cursor := ""
	for range 4 {
		p := read[page](t, server, "/api/v1/sweeps?limit=1&cursor="+cursor)
		for _, s := range p.Data {
			sweeps = append(sweeps, s.Owner+" "+s.SweepID)
		}
		if p.Next == nil {
			break
		}
		cursor = *p.Next
	}
	if want := []string{"gone 2026-01-15T06:00:00Z", "acme 2026-01-15T06:00:00Z", "acme 2026-01-14T06:00:00Z"}; !slices.Equal(sweeps, want) {
		t.Errorf("the ledger in pages: %v, want %v", sweeps, want)
	}
}

func TestARepositoryIsFoundByEveryNameItHasHad(t *testing.T) {
	server := started(t, nil)
	type one struct {
		AsOf     string `json:"as_of"`
		Complete *bool  `json:"complete"`
		Data     struct {
			RepoID    int64  `json:"repo_id"`
			Label     string `json:"label"`
			IsFormer  bool   `json:"is_former"`
			IsCurrent bool   `json:"is_current"`
		} `json:"data"`
	}
	for path, want := range map[string]string{
		"acme/steady":                      "1 acme/steady former=false current=true true",
		"ACME/Steady":                      "1 acme/steady former=false current=true true",
		"acme/.github":                     "2 acme/.github former=false current=true true",
		"acme/a.b-c_d":                     "3 acme/a.b-c_d former=false current=true true",
		"%C3%BCn%C3%AF/c%C3%B6d%C3%A9":     "4 ünï/cödé former=false current=true unknown",
		"acme/twice":                       "7 acme/twice former=false current=true true",
		"acme/twice?repo_id=6":             "6 acme/twice (repo_id 6) former=true current=false true",
		"gone/gone":                        "8 gone/gone former=false current=false false",
		"acme/twice?repo_id=7&format=json": "7 acme/twice former=false current=true true",
	} {
		r := read[one](t, server, "/api/v1/repositories/"+path)
		complete := "unknown"
		if r.Complete != nil {
			complete = fmt.Sprint(*r.Complete)
		}
		if got := fmt.Sprintf("%d %s former=%t current=%t %s", r.Data.RepoID, r.Data.Label, r.Data.IsFormer, r.Data.IsCurrent, complete); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	for path, want := range map[string]string{
		"/api/v1/repositories/acme/before":        "/api/v1/repositories/acme/after",
		"/api/v1/repositories/acme/before/series": "/api/v1/repositories/acme/after/series",
	} {
		if a := get(t, server, path); a.status != 301 || a.header.Get("Location") != want {
			t.Errorf("%s: %d to %q, want 301 to %s", path, a.status, a.header.Get("Location"), want)
		}
	}
	for _, path := range []string{"/api/v1/repositories/acme/nothing", "/api/v1/repositories/acme/twice?repo_id=1", "/api/v1/companies/nobody", "/api/v1/owners/nobody/series", "/api/v1/compare?repos=acme/nothing", "/api/v1/nothing", "/api/v2"} {
		if a := get(t, server, path); a.status != 404 || a.header.Get("Content-Type") != "application/problem+json" || !strings.Contains(a.body, `"detail":"no `) {
			t.Errorf("%s: %d %s, want 404 with the reason", path, a.status, a.body)
		}
	}
}

// Each form holds the rows of JSON, and what JSON says beside them is in the headers.
func TestEveryFormHoldsTheSameRows(t *testing.T) {
	server := started(t, nil)
	for _, path := range []string{
		"/api/v1/repositories?sort=repo_id&fields=repo_id,description,stars,forks,is_archived,topics,languages,stars_per_day_7d,observed_at", "/api/v1/repositories/acme/steady/series?to=2026-01-09&from=2026-01-05",
		"/api/v1/companies/acme", "/api/v1/sweeps", "/api/v1/freshness", "/api/v1/compare?repos=acme/steady,acme/after",
		"/api/v1/repositories?owner=nobody",
	} {
		mark := "?"
		if strings.Contains(path, "?") {
			mark = "&"
		}
		lines := get(t, server, path, "Accept", "application/x-ndjson")
		var rows []map[string]any
		for line := range strings.Lines(lines.body) {
			var row map[string]any
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				t.Fatal(err)
			}
			rows = append(rows, row)
		}
		if lines.header.Get("Content-Type") != "application/x-ndjson" {
			t.Errorf("%s as NDJSON is %s", path, lines.header.Get("Content-Type"))
		}
		sheet := get(t, server, path+mark+"format=csv", "Accept", "application/json")
		cells, err := csv.NewReader(strings.NewReader(sheet.body)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if len(cells) != len(rows)+1 {
			t.Errorf("%s: %d lines of CSV, want a header and %d", path, len(cells), len(rows))
		}
		columns := parquetColumns(t, get(t, server, path, "Accept", "application/vnd.apache.parquet;q=0.9, text/csv;q=0.1"))
		if fmt.Sprint(columns.names) != fmt.Sprint(cells[0]) || columns.rows != int64(len(rows)) {
			t.Errorf("%s: parquet has %d rows of %v, want %d of %v", path, columns.rows, columns.names, len(rows), cells[0])
		}
		for i, row := range rows {
			for j, name := range cells[0] {
				value, cell := row[name], cells[i+1][j]
				if value == nil != (cell == "") && value != "" {
					t.Errorf("%s: row %d, %s is %v, in CSV %q", path, i, name, value, cell)
				}
			}
		}
		whole := get(t, server, path)
		var said struct {
			AsOf        *string  `json:"as_of"`
			Definitions []string `json:"definitions"`
		}
		if err := json.Unmarshal([]byte(whole.body), &said); err != nil {
			t.Fatal(err)
		}
		if said.AsOf != nil && sheet.header.Get("M7pulse-As-Of") != *said.AsOf || sheet.header.Get("M7pulse-Definitions") != strings.Join(said.Definitions, ",") {
			t.Errorf("%s: headers %v, want as_of %v and definitions %v", path, sheet.header, said.AsOf, said.Definitions)
		}
	}
	sheet := get(t, server, "/api/v1/repositories?format=csv&sort=repo_id&fields=description&owner=acme").body
	if !strings.Contains(sheet, "'=cmd|") {
		t.Errorf("a formula in CSV is not inert:\n%s", sheet)
	}
	if a := get(t, server, "/api/v1/repositories?limit=2&format=csv"); !strings.Contains(a.header.Get("Link"), `rel="next"`) {
		t.Errorf("Link is %q, want the next page", a.header.Get("Link"))
	}
}

type columns struct {
	names []string
	rows  int64
}

func parquetColumns(t *testing.T, a answer) (c columns) {
	t.Helper()
	f, err := file.NewParquetReader(strings.NewReader(a.body))
	if err != nil {
		t.Fatalf("%v: %d %v\n%s", err, a.status, a.header, a.body)
	}
	defer f.Close()
	r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	table, err := r.ReadTable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	for _, field := range table.Schema().Fields() {
		c.names = append(c.names, field.Name)
	}
	c.rows = table.NumRows()
	return c
}

func TestAnAnswerThatIsKnownIsNotSentAgain(t *testing.T) {
	server := started(t, nil)
	first := get(t, server, "/api/v1/companies")
	etag := first.header.Get("ETag")
	if etag == "" || first.header.Get("Cache-Control") != "max-age=30" || first.header.Get("Vary") == "" {
		t.Fatalf("headers %v", first.header)
	}
	for _, tag := range []string{etag, "W/" + etag, `"other", ` + etag, "*"} {
		if a := get(t, server, "/api/v1/companies", "If-None-Match", tag); a.status != 304 || a.body != "" || a.header.Get("ETag") != etag {
			t.Errorf("If-None-Match: %s: %d %q", tag, a.status, a.body)
		}
	}
	if a := get(t, server, "/api/v1/companies?window=24h", "If-None-Match", etag); a.status != 200 {
		t.Errorf("another answer: %d", a.status)
	}
	if a := get(t, server, "/api/v1/companies?format=csv", "If-None-Match", etag); a.status != 200 || a.header.Get("ETag") == etag {
		t.Errorf("another form: %d with ETag %s", a.status, a.header.Get("ETag"))
	}
}

func TestBadInputIsOneProblemThatNamesIt(t *testing.T) {
	server := started(t, nil)
	list, series := "/api/v1/repositories?", "/api/v1/repositories/acme/steady/series?"
	cursor := *read[page](t, server, list+"limit=1").Next
	for query, location := range map[string]string{
		list + "limit=0":                                        "query.limit",
		list + "limit=x":                                        "query.limit",
		list + "sort=stars;DROP":                                "query.sort",
		list + "sort=topics":                                    "query.sort",
		list + "fields=stars,secret":                            "query.fields",
		list + "min_stars=-1":                                   "query.min_stars",
		list + "cursor=abc":                                     "query.cursor",
		list + "cursor=" + cursor[:9]:                           "query.cursor",
		list + "sort=forks&cursor=" + cursor:                    "query.cursor",
		list + "owner=acme&cursor=" + cursor:                    "query.cursor",
		list + "format=xml":                                     "query.format",
		list + "ownr=acme":                                      "query.ownr",
		series + "from=2026-13-01":                              "query.from",
		series + "from=2026-01-02&to=2026-01-01":                "query.from",
		series + "from=0001-01-01":                              "query.from",
		series + "from=2024-01-01&step=hour":                    "query.from",
		series + "counter=name":                                 "query.counter",
		series + "counter=health_score&window=7d":               "query.window",
		series + "window=2d":                                    "query.window",
		series + "tz=Mars/Olympus":                              "query.tz",
		series + "tz=Local":                                     "query.tz",
		"/api/v1/compare":                                       "query.repos",
		"/api/v1/compare?repos=a/b&days=1":                      "query.days",
		"/api/v1/companies/acme/series?counter=health_score":    "query.counter",
		"/api/v1/companies/acme/series?counter=forks&window=7d": "query.window",
		"/api/v1/sweeps?status=fine":                            "query.status",
	} {
		a := get(t, server, query)
		var problem struct {
			Status int    `json:"status"`
			Title  string `json:"title"`
			Errors []struct {
				Location string `json:"location"`
				Message  string `json:"message"`
			} `json:"errors"`
		}
		if err := json.Unmarshal([]byte(a.body), &problem); err != nil || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s %v", query, a.status, a.body, err)
			continue
		}
		located := len(problem.Errors) == 1 && strings.HasPrefix(problem.Errors[0].Location, location) && problem.Errors[0].Message != ""
		if a.status != 422 || problem.Status != 422 || !located {
			t.Errorf("%s: %d %s, want 422 and one error at %s", query, a.status, a.body, location)
		}
	}
}

func TestDaysAreCutByTheZoneAskedFor(t *testing.T) {
	server := started(t, nil)
	type series struct {
		Zone string `json:"time_zone"`
		Data struct {
			Points []struct {
				At    string   `json:"at"`
				Value *float64 `json:"value"`
			} `json:"points"`
		} `json:"data"`
	}
	// A reading at 06:00 UTC is of the evening before in Los Angeles.
	s := read[series](t, server, "/api/v1/repositories/acme/steady/series?from=2026-01-05&to=2026-01-08&tz=America/Los_Angeles")
	var got []string
	for _, p := range s.Data.Points {
		value := "null"
		if p.Value != nil {
			value = fmt.Sprint(*p.Value)
		}
		got = append(got, p.At+"="+value)
	}
	want := []string{"2026-01-05T00:00:00-08:00=1050", "2026-01-06T00:00:00-08:00=1060", "2026-01-07T00:00:00-08:00=null", "2026-01-08T00:00:00-08:00=1080"}
	if !slices.Equal(got, want) || s.Zone != "America/Los_Angeles" {
		t.Errorf("%s: %v, want %v", s.Zone, got, want)
	}
}

// What a caller sends is never more than a value.
func TestHostileParametersChooseNothing(t *testing.T) {
	server := started(t, nil)
	for _, text := range []string{hostile, `' OR 1=1 --`, `\`, `\'`, "a\x00b", "%", "{x:String}", "?", "$1", "@a", strings.Repeat("x", 256)} {
		for _, path := range []string{"/api/v1/repositories?owner=%s", "/api/v1/repositories?company=%s", "/api/v1/repositories?language=%s", "/api/v1/sweeps?owner=%s"} {
			a := get(t, server, fmt.Sprintf(path, url.QueryEscape(text)))
			if a.status != 200 || !strings.HasSuffix(a.body, `"next":null,"data":[]}`+"\n") {
				t.Errorf("%s with %q: %d %s", path, text, a.status, a.body)
			}
		}
		for _, path := range []string{"/api/v1/owners/%s", "/api/v1/companies/%s", "/api/v1/repositories/acme/%s"} {
			if a := get(t, server, fmt.Sprintf(path, url.PathEscape(text))); a.status != 404 {
				t.Errorf("%s with %q: %d %s", path, text, a.status, a.body)
			}
		}
	}
}

// A cursor holds foreign bytes: any may come.
func FuzzCursor(f *testing.F) {
	f.Add("eyJvZiI6IiIsIm1hcmsiOnt9fQ")
	f.Add("")
	f.Add("////")
	f.Fuzz(func(t *testing.T, cursor string) {
		server := started(t, nil)
		for _, path := range []string{"/api/v1/repositories?limit=1&cursor=", "/api/v1/sweeps?limit=1&cursor="} {
			if a := get(t, server, path+url.QueryEscape(cursor)); a.status >= 500 {
				t.Errorf("cursor %q: %d %s", cursor, a.status, a.body)
			}
		}
	})
}
