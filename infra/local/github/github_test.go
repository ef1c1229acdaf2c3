package github

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// got is an answer as a client sees it.
type got struct {
	status int
	header http.Header
	text   string
	Data   map[string]any `json:"data"`
	Errors []failure      `json:"errors"`
	body   map[string]any
}

func ask(t *testing.T, s *Server, token, query string, variables map[string]any) got {
	t.Helper()
	body, _ := json.Marshal(map[string]any{"query": query, "variables": variables})
	r := httptest.NewRequest(http.MethodPost, "/graphql", bytes.NewReader(body)).WithContext(t.Context())
	r.Header.Set("Authorization", "bearer "+token)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	g := got{status: w.Code, header: w.Result().Header, text: w.Body.String()}
	_ = json.Unmarshal(w.Body.Bytes(), &g)
	_ = json.Unmarshal(w.Body.Bytes(), &g.body)
	return g
}

// at walks into an answer.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func newServer(t *testing.T, w *World, tokens ...string) *Server {
	t.Helper()
	if len(tokens) == 0 {
		tokens = []string{"t"}
	}
	s, err := New(w, tokens...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// many is a world of one organization with a number of repositories.
func many(n int, life Life, start time.Time) *World {
	return Generate(Plan{Seed: 7, Start: start, Life: life, Owners: []OwnerPlan{{Login: "big", Repos: n}, {Login: "other", Repos: 3}}})
}

func TestAQueryThatGitHubsSchemaRefusesIsRefused(t *testing.T) {
	s := newServer(t, NewWorld())
	for _, query := range []string{
		`{ organization(login: "acme") { stars } }`,             // no such field
		`{ organization { login } }`,                            // an argument is missing
		`{ organization(login: 7) { login } }`,                  // of the wrong type
		`query($n: Int!) { organization(login: $n) { login } }`, // a variable of the wrong type
		`{ organization(login: "acme") }`,                       // an object without fields
		`{ nodes(ids: ["R_1000"]) { nameWithOwner } }`,          // not of every node
		`{ organization(login: "acme") { repositories(first: 1, orderBy: {field: AGE, direction: ASC}) { totalCount } } }`,
		`mutation { addStar(input: {starrableId: "R_1000"}) { clientMutationId } }`, // the emulator's limit
		`{ organization(`,
	} {
		g := ask(t, s, "t", query, nil)
		if g.status != 200 || g.Data != nil || len(g.Errors) == 0 || g.Errors[0].Extensions["code"] == nil {
			t.Errorf("%s: status %d, %s", query, g.status, g.text)
		}
	}
	if n := s.accounts["user-1"].remaining; n != PointsPerHour {
		t.Errorf("refused queries cost %d points", PointsPerHour-n)
	}
	if g := ask(t, s, "t", `{ organization(login: "acme") { teams(first: 1) { totalCount } } }`, nil); g.status != http.StatusNotImplemented {
		t.Errorf("what GitHub has and the emulator has not: status %d, %s", g.status, g.text)
	}
}

func TestOnlyWhatIsAskedIsAnswered(t *testing.T) {
	s := newServer(t, NewWorld())
	g := ask(t, s, "t", `query($skip: Boolean!) {
		who: repositoryOwner(login: "JANE") { __typename ...on User { login } ...on Organization { id } }
		nobody: repositoryOwner(login: "nobody") { login }
		repository(owner: "jane", name: "repo-0") { ...R name @skip(if: $skip) open: issues(states: OPEN) { totalCount } issues { totalCount } merged: pullRequests(states: [MERGED, CLOSED]) { totalCount } }
		viewer { login }
	} fragment R on Repository { nameWithOwner languages(first: 1, orderBy: {field: SIZE, direction: DESC}) { totalCount edges { size node { name } } } }`, map[string]any{"skip": true})
	want := map[string]any{
		"who": map[string]any{"__typename": "User", "login": "jane"}, "nobody": nil, "viewer": map[string]any{"login": "user-1"},
		"repository": map[string]any{
			"nameWithOwner": "jane/repo-0", "open": map[string]any{"totalCount": 2004.}, "issues": map[string]any{"totalCount": 4009.}, "merged": map[string]any{"totalCount": 4015.},
			"languages": map[string]any{"totalCount": 2., "edges": []any{map[string]any{"size": 20000., "node": map[string]any{"name": "Go"}}}},
		},
	}
	if !reflect.DeepEqual(g.Data, want) || len(g.Errors) != 0 {
		t.Errorf("answered\n%v\nwant\n%v", g.text, want)
	}
}

func TestErrorsHaveGitHubsTypesAndPaths(t *testing.T) {
	w := NewWorld()
	w.Owners = append(w.Owners, &Owner{Login: "closed", Type: "Organization", Denies: SAML})
	w.Owner("acme").Repos[2].Unanswered = true
	s := newServer(t, w)
	ids := slices.Repeat([]string{"R_1000"}, 101)
	for _, c := range []struct {
		query   string
		vars    map[string]any
		kind    string
		path    []any
		message string
	}{
		{`{ organization(login: "nobody") { login } }`, nil, "NOT_FOUND", []any{"organization"}, "Could not resolve to a Organization with the login of 'nobody'."},
		{`{ o: organization(login: "jane") { login } }`, nil, "NOT_FOUND", []any{"o"}, ""},
		{`{ repository(owner: "acme", name: "repo-7") { name } }`, nil, "NOT_FOUND", []any{"repository"}, "Could not resolve to a Repository with the name 'acme/repo-7'."},
		{`{ nodes(ids: ["R_1000", "R_9"]) { id } }`, nil, "NOT_FOUND", []any{"nodes", 1.}, "Could not resolve to a node with the global id of 'R_9'."},
		{`query($ids: [ID!]!) { nodes(ids: $ids) { id } }`, map[string]any{"ids": ids}, "ARGUMENT_LIMIT", []any{"nodes"}, ""},
		{`{ organization(login: "closed") { login } }`, nil, "FORBIDDEN", []any{"organization"}, ""},
		{`{ organization(login: "acme") { repositories { nodes { id } } } }`, nil, "MISSING_PAGINATION_BOUNDARIES", []any{"organization", "repositories"}, ""},
		{`{ organization(login: "acme") { repositories(first: 101) { nodes { id } } } }`, nil, "EXCESSIVE_PAGINATION", []any{"organization", "repositories"}, ""},
		{`{ organization(login: "acme") { repositories(first: 1, after: "x") { nodes { id } } } }`, nil, "INVALID_CURSOR_ARGUMENTS", []any{"organization", "repositories"}, ""},
		{`{ organization(login: "acme") { repositories(first: 3, orderBy: {field: CREATED_AT, direction: ASC}) { nodes { id watchers { totalCount } } } } }`, nil,
			"RESOURCE_LIMITS_EXCEEDED", []any{"organization", "repositories", "nodes", 2., "watchers"}, "Resource limits for this query exceeded."},
	} {
		g := ask(t, s, "t", c.query, c.vars)
		if g.status != 200 || len(g.Errors) != 1 || g.Errors[0].Type != c.kind || !reflect.DeepEqual(g.Errors[0].Path, c.path) || len(g.Errors[0].Locations) != 1 || c.message != "" && g.Errors[0].Message != c.message {
			t.Errorf("%s: status %d, %s", c.query, g.status, g.text)
		}
	}
	// A null where the schema allows none makes null what holds it, and no more.
	g := ask(t, s, "t", `{ organization(login: "acme") { login repositories(first: 3, orderBy: {field: CREATED_AT, direction: ASC}) { totalCount nodes { databaseId watchers { totalCount } } } } }`, nil)
	if nodes, _ := at(g.Data, "organization", "repositories", "nodes").([]any); len(nodes) != 3 || nodes[2] != nil || at(nodes[1], "databaseId") != 1001. {
		t.Errorf("nodes %v", nodes)
	}
	g = ask(t, s, "t", `{ organization(login: "acme") { login repositories { nodes { id } } } viewer { login } }`, nil)
	if g.Data["organization"] != nil || g.Data["viewer"] == nil {
		t.Errorf("repositories may not be null, so neither may the organization: %s", g.text)
	}
}

// pages reads an owner's whole list.
func pages(t *testing.T, s *Server, login, order string, between func()) (ids []int64, totals []int64) {
	t.Helper()
	cursor := any(nil)
	for {
		g := ask(t, s, "t", `query($login: String!, $after: String) { organization(login: $login) { repositories(first: 10, after: $after, orderBy: {`+order+`}) { totalCount pageInfo { hasNextPage endCursor } nodes { databaseId } } } }`,
			map[string]any{"login": login, "after": cursor})
		list := at(g.Data, "organization", "repositories")
		nodes, _ := at(list, "nodes").([]any)
		for _, n := range nodes {
			ids = append(ids, int64(at(n, "databaseId").(float64)))
		}
		totals = append(totals, int64(at(list, "totalCount").(float64)))
		if at(list, "pageInfo", "hasNextPage") != true {
			return ids, totals
		}
		cursor = at(list, "pageInfo", "endCursor")
		between()
	}
}

func TestPagesByCreationLoseNothingThatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life := Life{Created: 100, Deleted: 60, Renamed: 100, Transferred: 40, Hidden: 40}
		s := newServer(t, many(95, life, time.Now()))
		from := time.Now()
		ids, totals := pages(t, s, "big", "field: CREATED_AT, direction: ASC", func() { time.Sleep(20 * time.Minute) })
		truth := s.Truth("big", from, time.Now())
		if len(truth.Throughout) == len(truth.Ever) || len(truth.Throughout) < 10 || slices.Max(totals) == slices.Min(totals) {
			t.Fatalf("nothing happened: %d of %d stayed", len(truth.Throughout), len(truth.Ever))
		}
		seen := map[int64]bool{}
		for _, id := range ids {
			if seen[id] || !truth.Ever[id] {
				t.Errorf("repository %d is shown twice, or was never there", id)
			}
			seen[id] = true
		}
		for id := range truth.Throughout {
			if !seen[id] {
				t.Errorf("repository %d was there all the time and is not shown", id)
			}
		}
	})
}

func TestPagesByStarsSkip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := many(95, Life{}, time.Now())
		s := newServer(t, w)
		ids, _ := pages(t, s, "big", "field: STARGAZERS, direction: DESC", func() {
			s.Change(func(w *World) { // the last one has its great day
				for _, r := range w.Owner("big").Repos[:30] {
					r.Stars += 1_000_000
				}
			})
		})
		slices.Sort(ids)
		if n := len(slices.Compact(ids)); n >= 95 {
			t.Errorf("%d of 95 repositories are shown, though the order changed", n)
		}
	})
}

func TestPointsFollowTheDocumentedFormula(t *testing.T) {
	s := newServer(t, many(3, Life{}, time.Now()))
	page := `{ organization(login: "big") { repositories(first: %d) { nodes { id %s } } } rateLimit { cost nodeCount limit remaining used } }`
	lists := []string{"languages(first: 10) { totalCount }", "repositoryTopics(first: 20) { totalCount }", "l2: languages(first: 5) { totalCount }", "t2: repositoryTopics(first: 5) { totalCount }", "t3: repositoryTopics(first: 1) { totalCount }"}
	for _, c := range []struct{ k, page, cost int }{
		{0, 100, 1}, {1, 100, 1}, {3, 100, 3}, {3, 49, 1}, {3, 50, 2}, {5, 25, 1}, {2, 74, 1}, {2, 75, 2}, {5, 29, 1}, {5, 30, 2},
	} {
		query := fmt.Sprintf(page, c.page, strings.Join(lists[:c.k], " ")+" issues { totalCount } watchers { totalCount } ")
		before := s.accounts["user-1"].remaining
		g := ask(t, s, "t", query, nil)
		limit := at(g.Data, "rateLimit")
		if at(limit, "cost") != float64(c.cost) || at(limit, "limit") != 5000. || before-s.accounts["user-1"].remaining != int64(c.cost) && before != 5000 {
			t.Errorf("%d connections in a page of %d: %v, want %d", c.k, c.page, g.text, c.cost)
		}
		if g.header.Get("X-RateLimit-Remaining") != fmt.Sprint(at(limit, "remaining")) || g.header.Get("X-RateLimit-Used") != fmt.Sprint(at(limit, "used")) || g.header.Get("X-RateLimit-Resource") != "graphql" {
			t.Errorf("headers %v of %s", g.header, g.text)
		}
	}
	// The example of GitHub's documentation: 1 + 100 + 100·50 requests, and
	// 100 + 100·50 + 100·50·60 nodes.
	q, wrong := parse(s.schema, `{ viewer { login repositories(first: 100) { edges { repository: node { name issues(first: 50) { totalCount edges { node { title labels(first: 60) { totalCount edges { node { name } } } } } } } } } } }`, nil)
	if wrong != nil {
		t.Fatal(wrong[0])
	}
	if p := q.price(); p.points() != 51 || p.nodes != 305_100 {
		t.Errorf("the documented example costs %d points and %d nodes, want 51 and 305100", p.points(), p.nodes)
	}
	g := ask(t, s, "t", `{ organization(login: "big") { repositories(first: 100) { nodes { issues(first: 100) { nodes { labels(first: 100) { nodes { name } } } } } } } }`, nil)
	if len(g.Errors) != 1 || g.Errors[0].Type != "MAX_NODE_LIMIT_EXCEEDED" {
		t.Errorf("1,010,100 nodes: %s", g.text)
	}
}

func TestTokensOfOneUserShareThePoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, NewWorld(), "a", "c")
		s.Grant("b", "user-1")
		s.SetSkew(-3 * time.Second)
		s.SetRemaining("a", 2, time.Now().Add(time.Minute))
		q := `{ viewer { login } rateLimit { resetAt } }`
		ask(t, s, "a", q, nil)
		ask(t, s, "b", q, nil)
		g := ask(t, s, "b", q, nil)
		if g.status != 200 || len(g.Errors) != 1 || g.Errors[0].Type != "RATE_LIMIT" || g.Data != nil || g.header.Get("X-RateLimit-Remaining") != "0" {
			t.Errorf("status %d, %v, %s", g.status, g.header, g.text)
		}
		if reset := g.header.Get("X-RateLimit-Reset"); reset != fmt.Sprint(time.Now().Add(57*time.Second).Unix()) {
			t.Errorf("reset %s by a clock that is 3 s behind", reset)
		}
		if n := s.Breaches(); n != 0 {
			t.Errorf("%d breaches by one who could not know", n)
		}
		time.Sleep(10 * time.Second)
		ask(t, s, "a", q, nil)
		if n := s.Breaches(); n != 1 {
			t.Errorf("%d breaches, want 1", n)
		}
		if g := ask(t, s, "c", q, nil); g.Data == nil {
			t.Errorf("another user is limited too: %s", g.text)
		}
		time.Sleep(time.Minute)
		if g := ask(t, s, "b", q, nil); g.Data == nil || g.header.Get("X-RateLimit-Remaining") != "4999" {
			t.Errorf("after the reset: %v %s", g.header, g.text)
		}
	})
}

func TestSecondaryLimitsSendOneAway(t *testing.T) {
	q := `{ viewer { login } }`
	limited := func(g got) bool {
		return g.status == 403 && g.header.Get("Retry-After") == "61" && strings.Contains(g.text, "secondary rate limit")
	}
	t.Run("queries a minute", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, NewWorld())
			for range QueriesPerMinute {
				if g := ask(t, s, "t", q, nil); g.status != 200 {
					t.Fatal(g.text)
				}
			}
			if g := ask(t, s, "t", q, nil); !limited(g) {
				t.Errorf("status %d, %v", g.status, g.header)
			}
			time.Sleep(61 * time.Second)
			if g := ask(t, s, "t", q, nil); g.status != 200 {
				t.Errorf("a minute later: %s", g.text)
			}
		})
	})
	t.Run("in flight", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, NewWorld())
			s.SetTiming(Timing{Base: 5 * time.Second})
			for range InFlight {
				go ask(t, s, "t", q, nil)
			}
			synctest.Wait()
			if g := ask(t, s, "t", q, nil); !limited(g) {
				t.Errorf("status %d, %v", g.status, g.header)
			}
			time.Sleep(time.Minute)
		})
	})
	t.Run("work a minute", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, NewWorld(), "t", "u")
			s.SetTiming(Timing{Base: 5 * time.Second})
			for range 3 { // 12 queries of 5 s within 20 s
				for range 4 {
					go ask(t, s, "t", q, nil)
				}
				time.Sleep(6 * time.Second)
			}
			if g := ask(t, s, "t", q, nil); !limited(g) {
				t.Errorf("status %d, %v", g.status, g.header)
			}
			if g := ask(t, s, "u", q, nil); g.status != 200 {
				t.Errorf("another user: status %d", g.status)
			}
		})
	})
}

// TestPageTimesLieInTheMeasuredBands holds the model against what users of
// GitHub have published, within the 30 % by which they disagree.
func TestPageTimesLieInTheMeasuredBands(t *testing.T) {
	const two = "issues(states: OPEN) { totalCount } pullRequests(states: OPEN) { totalCount } "
	const languages = "languages(first: 10) { totalCount } "
	const history = "defaultBranchRef { target { ...on Commit { history { totalCount } } } } "
	for _, c := range []struct {
		page     int
		fields   string
		from, to float64 // seconds
		killed   bool    // some of them
	}{
		{91, two + languages, 6.4, 6.7, false},
		{91, two + languages + history, 8.2, 10.9, true},
		{50, history, 4.4, 6.2, false},
		{100, two, 8, 10, false}, // one of four was killed; the model's owner is not so heavy
		{50, two, 4.5, 4.5, false},
		{30, two, 3, 3, false},
		{5, "", 0.4, 0.4, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, many(100, Life{}, time.Now()))
			s.world.Owner("big").weight = 1
			s.SetTiming(Measured())
			s.SetLimit("t", 1_000_000)
			var sum, killed float64
			const times = 40
			for i := range times {
				g := ask(t, s, "t", fmt.Sprintf(`{ organization(login: "big") { n%d: login repositories(first: %d) { nodes { id %s} } } }`, i, c.page, c.fields), nil)
				took := s.Requests()[i].Took
				sum += took.Seconds()
				if g.status == http.StatusBadGateway {
					killed++
					if took != KillAfter || !s.Requests()[i].Killed {
						t.Errorf("killed after %s", took)
					}
				}
				time.Sleep(time.Minute)
			}
			mean := sum / times
			if mean < c.from*.7 || mean > c.to*1.3 || c.killed != (killed > 0) {
				t.Errorf("a page of %d with %q took %.1f s on average, %.0f of %d were killed; measured %.1f to %.1f s", c.page, c.fields, mean, killed, times, c.from, c.to)
			}
		})
	}
}

func TestAKilledQueryIsFined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, NewWorld())
		s.SetTiming(Timing{Base: 11 * time.Second})
		began := time.Now()
		g := ask(t, s, "t", `{ viewer { login } }`, nil)
		if g.status != 502 || time.Since(began) != KillAfter || s.accounts["user-1"].remaining != PointsPerHour-1-killFine {
			t.Errorf("status %d after %s, %d points left", g.status, time.Since(began), s.accounts["user-1"].remaining)
		}
	})
}

func TestBadTokensAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, NewWorld(), "expiring", "revoked", "suspended")
		s.Expire("expiring", time.Now().Add(time.Hour))
		s.Revoke("revoked")
		s.Forbid("suspended", "Sorry. Your account was suspended.")
		for _, c := range []struct {
			token   string
			after   time.Duration
			status  int
			message any
		}{
			{"expiring", 0, 200, nil}, {"expiring", 2 * time.Hour, 401, "Bad credentials"}, {"revoked", 0, 401, "Bad credentials"},
			{"never-granted", 0, 401, "Bad credentials"}, {"", 0, 401, "Bad credentials"}, {"suspended", 0, 403, "Sorry. Your account was suspended."},
		} {
			time.Sleep(c.after)
			if g := ask(t, s, c.token, `{ viewer { login } }`, nil); g.status != c.status || g.body["message"] != c.message {
				t.Errorf("token %q: status %d, %s", c.token, g.status, g.text)
			}
		}
	})
}

func TestFaultsAreWhatTheySayTheyAre(t *testing.T) {
	s := newServer(t, NewWorld())
	server := httptest.NewServer(s)
	defer server.Close()
	query := `{"query":"{ organization(login: \"acme\") { repositories(first: 7) { nodes { id watchers { totalCount } } } } }"}`
	post := func(f Fault) (int, string, error) {
		s.Fail(f)
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader(query))
		r.Header.Set("Authorization", "bearer t")
		resp, err := server.Client().Do(r)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text), err
	}
	_, whole, err := post(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := post(Reset); err == nil {
		t.Error("a broken connection gave an answer")
	}
	if _, text, err := post(Cut(.5)); err == nil || len(text) > len(whole)/2 || !strings.HasPrefix(whole, text) {
		t.Errorf("cut: %v, %q", err, text)
	}
	if status, text, err := post(Garbage); status != 200 || err != nil || json.Valid([]byte(text)) {
		t.Errorf("garbage: %d, %v, %q", status, err, text)
	}
	began := time.Now()
	if _, text, err := post(Slow(200 * time.Millisecond)); err != nil || text != whole || time.Since(began) < 150*time.Millisecond {
		t.Errorf("slow: %v after %s", err, time.Since(began))
	}
	_, text, err := post(Starved(9)) // the list, and of each of three and a half repositories itself and its count
	if err != nil || strings.Count(text, "RESOURCE_LIMITS_EXCEEDED") != 1 || strings.Count(text, "null") == 0 || !strings.Contains(text, "R_1000") || strings.Contains(text, "R_1006") {
		t.Errorf("starved: %v, %s", err, text)
	}
	if _, text, err := post(Blank(2)); err != nil || strings.Contains(text, "R_1002") || strings.Count(text, "R_100") != 6 || !strings.Contains(text, "Something went wrong") {
		t.Errorf("blank: %v, %s", err, text)
	}
	if status, text, err := post(SecondaryAsOK(time.Second)); status != 200 || err != nil || strings.Contains(text, "data\":") {
		t.Errorf("secondary with status 200: %d, %v, %s", status, err, text)
	}
}

func TestAWorldIsTheSameForTheSameSeed(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	life := Life{Created: 100, Deleted: 100, Renamed: 100, Transferred: 100, Archived: 100, Hidden: 100, Pushed: 100}
	show := func(steps int) string {
		w := many(200, life, start)
		for i := range steps { // looked at seldom or often
			w.live(start.Add(24 * time.Hour * time.Duration(i+1) / time.Duration(steps)))
		}
		var b strings.Builder
		for _, o := range w.Owners {
			for _, r := range o.Repos {
				fmt.Fprintln(&b, o.Login, r.ID, r.Name, r.Archived, r.Private, r.Commits, r.PushedAt, r.stars(start.Add(24*time.Hour)), r.tenures)
			}
		}
		return b.String()
	}
	if show(1) != show(100) {
		t.Error("a world that is looked at more often is another")
	}
}

func TestStarsComeAndGo(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r := many(50, Life{}, start).Owner("big").Repos[7]
	r.Drift = 1
	rose, fell := 0, 0
	for i := range 24 * 4 {
		switch a, b := r.stars(start.Add(time.Duration(i)*15*time.Minute)), r.stars(start.Add(time.Duration(i+1)*15*time.Minute)); {
		case b > a:
			rose++
		case b < a:
			fell++
		}
	}
	if gain := r.stars(start.Add(24*time.Hour)) - r.stars(start); rose == 0 || fell == 0 || math.Abs(float64(gain)-24) > 5 {
		t.Errorf("in a day, rose %d times, fell %d times, gained %d; drift is 24", rose, fell, gain)
	}
}

func TestAnOwnerOfThirtyThousandIsPagedQuickly(t *testing.T) {
	s := newServer(t, many(30_000, Life{Created: 1, Deleted: 1, Pushed: 10}, time.Now()))
	s.SetLimit("t", 100_000)
	began := time.Now()
	n, cursor := 0, any(nil)
	for {
		g := ask(t, s, "t", `query($after: String) { organization(login: "big") { repositories(first: 100, after: $after, orderBy: {field: CREATED_AT, direction: ASC}) { pageInfo { hasNextPage endCursor } nodes { databaseId } } } }`, map[string]any{"after": cursor})
		list := at(g.Data, "organization", "repositories")
		nodes, _ := at(list, "nodes").([]any)
		n += len(nodes)
		if at(list, "pageInfo", "hasNextPage") != true {
			break
		}
		cursor = at(list, "pageInfo", "endCursor")
	}
	if n != 30_000 || time.Since(began) > 30*time.Second {
		t.Errorf("%d repositories in %s", n, time.Since(began))
	}
}

func TestARenamedRepositoryIsFoundByItsOldName(t *testing.T) {
	s := newServer(t, NewWorld())
	s.Change(func(w *World) { w.Owner("acme").Repos[0].Name = "fresh" })
	old := `{ repository(owner: "acme", name: "repo-0", followRenames: %t) { nameWithOwner databaseId } }`
	if g := ask(t, s, "t", fmt.Sprintf(old, true), nil); at(g.Data, "repository", "nameWithOwner") != "Acme/fresh" || at(g.Data, "repository", "databaseId") != 1000. {
		t.Error(g.text)
	}
	if g := ask(t, s, "t", fmt.Sprintf(old, false), nil); len(g.Errors) != 1 {
		t.Error(g.text)
	}
}
