package github

import (
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

// root is the Query type, as one user sees the world at one time.
type root struct {
	world *World
	at    time.Time
	login string // of the user
	limit rateLimit
	blank func(i int, id int64) bool // says which repositories are not answered
}

func (*root) kind() string { return "Query" }

func (q *root) get(x *execution, f *ast.Field, args map[string]any) (any, error) {
	switch f.Name {
	case "rateLimit":
		return q.limit, nil
	case "viewer":
		if o := q.world.Owner(q.login); o != nil {
			return ownerObject{q, o}, nil
		}
		return ownerObject{q, &Owner{Login: q.login, Type: "User", weight: 1}}, nil
	case "repositoryOwner", "organization", "user":
		login, _ := args["login"].(string)
		o := q.world.Owner(login)
		kind := map[string]string{"organization": "Organization", "user": "User"}[f.Name]
		switch {
		case o != nil && (kind == "" || o.Type == kind):
			if o.denies(q.login) {
				return o.Denies.failure(o.Login), nil
			}
			return ownerObject{q, o}, nil
		case kind == "":
			return nil, nil // GitHub's repositoryOwner answers null and no error
		}
		return nil, notFound("%s with the login of '%s'", kind, login)
	case "repository":
		login, _ := args["owner"].(string)
		name, _ := args["name"].(string)
		r := q.world.named(login, name, args["followRenames"] != false)
		if r == nil {
			return nil, notFound("Repository with the name '%s'", login+"/"+name)
		}
		return q.repository(0, r), nil
	case "node":
		id, _ := args["id"].(string)
		return q.node(0, id), nil
	case "nodes":
		ids, _ := args["ids"].([]any)
		if len(ids) > maxPage {
			return nil, &failure{Type: "ARGUMENT_LIMIT", Message: fmt.Sprintf("You may not provide more than %d node ids; you provided %d.", maxPage, len(ids))}
		}
		nodes := make([]any, len(ids))
		for i, id := range ids {
			text, _ := id.(string)
			nodes[i] = q.node(i, text)
		}
		return nodes, nil
	}
	return nil, unmodelled(q, f)
}

func notFound(format string, args ...any) *failure {
	return &failure{Type: "NOT_FOUND", Message: "Could not resolve to a " + fmt.Sprintf(format, args...) + "."}
}

// node resolves a global id of a repository.
func (q *root) node(i int, id string) any {
	if number, ok := strings.CutPrefix(id, nodePrefix); ok {
		if n, err := strconv.ParseInt(number, 10, 64); err == nil {
			if r := q.world.byID[n]; r != nil && !r.Private {
				return q.repository(i, r)
			}
		}
	}
	return notFound("node with the global id of '%s'", id)
}

// repository is the i-th repository of a list.
func (q *root) repository(i int, r *Repo) any {
	switch {
	case r.owner.denies(q.login):
		return r.owner.Denies.failure(r.owner.Login)
	case q.blank != nil && q.blank(i, r.ID):
		return &failure{Message: "Something went wrong while executing your query."}
	}
	return repositoryObject{q, r}
}

// rateLimit is the state of a user's points after the query.
type rateLimit struct {
	cost, limit, remaining, nodes int64
	reset                         time.Time
}

func (rateLimit) kind() string { return "RateLimit" }

func (l rateLimit) get(_ *execution, f *ast.Field, _ map[string]any) (any, error) {
	switch f.Name {
	case "cost":
		return l.cost, nil
	case "limit":
		return l.limit, nil
	case "remaining":
		return l.remaining, nil
	case "used":
		return l.limit - l.remaining, nil
	case "nodeCount":
		return l.nodes, nil
	}
	return l.reset.UTC().Format(time.RFC3339), nil // resetAt, the last that the schema has
}

type ownerObject struct {
	*root
	o *Owner
}

func (v ownerObject) kind() string { return v.o.Type }

func (v ownerObject) get(x *execution, f *ast.Field, args map[string]any) (any, error) {
	switch f.Name {
	case "login":
		return v.o.Login, nil
	case "id":
		return "O_" + v.o.Login, nil
	case "databaseId":
		h := fnv.New32a()
		_, _ = h.Write([]byte(v.o.Login))
		return int64(h.Sum32() >> 1), nil
	case "url":
		return "https://github.com/" + v.o.Login, nil
	case "repositories":
		return v.repositories(f, args)
	}
	return nil, unmodelled(v, f)
}

// connection is one page of a list, or its totalCount alone.
type connection struct {
	name  string
	total int64
	nodes []any
	edges []any
	info  pageInfo
	bytes int64 // totalSize of languages
}

func (c connection) kind() string { return c.name }

func (c connection) get(_ *execution, f *ast.Field, _ map[string]any) (any, error) {
	switch f.Name {
	case "totalCount":
		return c.total, nil
	case "totalSize":
		return c.bytes, nil
	case "nodes":
		if c.nodes != nil {
			return c.nodes, nil
		}
	case "edges":
		if c.edges != nil {
			return c.edges, nil
		}
	case "pageInfo":
		if c.nodes != nil {
			return c.info, nil
		}
	}
	return nil, unmodelled(c, f)
}

type pageInfo struct {
	start, end   any
	next, before bool
}

func (pageInfo) kind() string { return "PageInfo" }

func (p pageInfo) get(_ *execution, f *ast.Field, _ map[string]any) (any, error) {
	switch f.Name {
	case "hasNextPage":
		return p.next, nil
	case "hasPreviousPage":
		return p.before, nil
	case "startCursor":
		return p.start, nil
	}
	return p.end, nil
}

// record is an object whose fields are all at hand.
type record struct {
	name   string
	fields map[string]any
}

func (r record) kind() string { return r.name }

func (r record) get(_ *execution, f *ast.Field, _ map[string]any) (any, error) {
	v, ok := r.fields[f.Name]
	if !ok {
		return nil, unmodelled(r, f)
	}
	return v, nil
}

// bounds checks the first and last of a connection whose items are asked for.
func bounds(f *ast.Field, args map[string]any) *failure {
	n, ok := page(args)
	items := slices.ContainsFunc(f.SelectionSet, func(s ast.Selection) bool {
		inner, ok := s.(*ast.Field)
		return !ok || inner.Name != "totalCount" && inner.Name != "totalSize"
	})
	switch {
	case !ok && items:
		return &failure{Type: "MISSING_PAGINATION_BOUNDARIES", Message: fmt.Sprintf("You must provide a `first` or `last` value to properly paginate the `%s` connection.", f.Name)}
	case n > maxPage:
		return &failure{Type: "EXCESSIVE_PAGINATION", Message: fmt.Sprintf("Requesting %d records on the `%s` connection exceeds the `first` limit of %d records.", n, f.Name, maxPage)}
	case ok && n < 1:
		return &failure{Type: "INVALID_PAGINATION", Message: fmt.Sprintf("`first` on the `%s` connection cannot be less than one.", f.Name)}
	}
	return nil
}

// repositories pages through an owner's repositories.
func (v ownerObject) repositories(f *ast.Field, args map[string]any) (any, error) {
	if wrong := bounds(f, args); wrong != nil {
		return nil, wrong
	}
	for name, value := range args {
		switch name {
		case "first", "after", "orderBy", "privacy", "visibility", "isFork", "isArchived", "ownerAffiliations":
		default:
			if value != nil {
				return nil, fmt.Errorf("the emulator does not model the argument %s of repositories", name)
			}
		}
	}
	order, _ := args["orderBy"].(map[string]any)
	all := v.world.listed(v.o, order, v.at)
	if args["privacy"] == "PRIVATE" || args["visibility"] == "PRIVATE" || args["visibility"] == "INTERNAL" {
		all = nil
	}
	for name, is := range map[string]func(*Repo) bool{"isFork": func(r *Repo) bool { return r.Fork }, "isArchived": func(r *Repo) bool { return r.Archived }} {
		if want, ok := args[name].(bool); ok {
			all = slices.DeleteFunc(slices.Clone(all), func(r *Repo) bool { return is(r) != want })
		}
	}
	list := connection{name: "RepositoryConnection", total: int64(len(all))}
	first, ok := number(args["first"])
	if !ok {
		return list, nil
	}
	sorted := sorting(order, v.at)
	from := 0
	if after, ok := args["after"].(string); ok {
		last, err := parseCursor(after)
		if err != nil {
			return nil, &failure{Type: "INVALID_CURSOR_ARGUMENTS", Message: fmt.Sprintf("`%s` does not appear to be a valid cursor.", after)}
		}
		from, _ = slices.BinarySearchFunc(all, last, func(r *Repo, last place) int {
			if c := sorted.compare(sorted.place(r), last); c != 0 {
				return c
			}
			return -1 // the one that the cursor names is before the page
		})
	}
	to := min(from+int(first), len(all))
	list.nodes, list.edges = make([]any, 0, to-from), make([]any, 0, to-from)
	list.info = pageInfo{next: to < len(all), before: from > 0}
	for i, r := range all[from:to] {
		node, cursor := v.repository(i, r), sorted.place(r).cursor()
		list.nodes = append(list.nodes, node)
		list.edges = append(list.edges, record{"RepositoryEdge", map[string]any{"node": node, "cursor": cursor}})
		if i == 0 {
			list.info.start = cursor
		}
		list.info.end = cursor
	}
	return list, nil
}

// place is a repository's position in an order. As a cursor it stays valid
// when a repository before it, or the very one, is deleted.
type place struct {
	value string // of what is ordered by
	id    int64
}

type sorted struct {
	value   func(*Repo) string
	compare func(a, b place) int
}

// sorting is the order that a query wants; by name, if it wants none.
func sorting(order map[string]any, at time.Time) sorted {
	decimal := func(n int64) string { return fmt.Sprintf("%020d", n) }
	values := map[any]func(*Repo) string{
		"CREATED_AT": func(r *Repo) string { return decimal(r.CreatedAt.Unix()) },
		"UPDATED_AT": func(r *Repo) string { return decimal(r.updated().Unix()) },
		"PUSHED_AT":  func(r *Repo) string { return decimal(r.PushedAt.Unix()) },
		"STARGAZERS": func(r *Repo) string { return decimal(r.stars(at)) },
		"NAME":       func(r *Repo) string { return strings.ToLower(r.Name) },
	}
	sign := 1
	if order["direction"] == "DESC" {
		sign = -1
	}
	s := sorted{value: values["NAME"], compare: func(a, b place) int {
		if c := strings.Compare(a.value, b.value); c != 0 {
			return sign * c
		}
		return sign * int(a.id-b.id)
	}}
	if by, ok := values[order["field"]]; ok {
		s.value = by
	}
	return s
}

func (s sorted) place(r *Repo) place { return place{s.value(r), r.ID} }

func (p place) cursor() string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "cursor:v2:%d:%s", p.id, p.value))
}

func parseCursor(cursor string) (p place, err error) {
	text, err := base64.StdEncoding.DecodeString(cursor)
	if err != nil {
		return p, err
	}
	rest, ok := strings.CutPrefix(string(text), "cursor:v2:")
	id, value, both := strings.Cut(rest, ":")
	if p.id, err = strconv.ParseInt(id, 10, 64); err != nil || !ok || !both {
		return p, fmt.Errorf("cursor %q", cursor)
	}
	p.value = value
	return p, nil
}

const nodePrefix = "R_"

type repositoryObject struct {
	*root
	r *Repo
}

func (repositoryObject) kind() string { return "Repository" }

func (v repositoryObject) get(x *execution, f *ast.Field, args map[string]any) (any, error) {
	r := v.r
	if isConnection(f) {
		if wrong := bounds(f, args); wrong != nil {
			return nil, wrong
		}
		if r.Unanswered {
			return nil, starved()
		}
	}
	switch f.Name {
	case "id":
		return nodePrefix + strconv.FormatInt(r.ID, 10), nil
	case "databaseId":
		return r.ID, nil
	case "fullDatabaseId":
		return strconv.FormatInt(r.ID, 10), nil
	case "name":
		return r.Name, nil
	case "nameWithOwner":
		return r.owner.Login + "/" + r.Name, nil
	case "owner":
		return ownerObject{v.root, r.owner}, nil
	case "url":
		return "https://github.com/" + r.owner.Login + "/" + r.Name, nil
	case "description":
		return orNull(r.Description), nil
	case "primaryLanguage":
		if r.Language == "" {
			return nil, nil
		}
		return language(r.Language), nil
	case "languages":
		x.work(r.owner, x.timing.List)
		return v.languages(args), nil
	case "repositoryTopics":
		x.work(r.owner, x.timing.List)
		topics := make([]any, 0, len(r.Topics))
		for _, t := range r.Topics {
			topics = append(topics, record{"RepositoryTopic", map[string]any{"topic": record{"Topic", map[string]any{"name": t}}}})
		}
		return listOf("RepositoryTopicConnection", topics, args), nil
	case "licenseInfo":
		if r.License == "" {
			return nil, nil
		}
		return record{"License", map[string]any{"spdxId": r.License, "name": r.License, "key": strings.ToLower(r.License)}}, nil
	case "defaultBranchRef":
		if r.Branch == "" {
			return nil, nil
		}
		return record{"Ref", map[string]any{"name": r.Branch, "target": commit{v}}}, nil
	case "isFork":
		return r.Fork, nil
	case "isArchived":
		return r.Archived, nil
	case "isPrivate", "isDisabled", "isLocked", "isMirror", "isTemplate":
		return false, nil // private ones are not shown
	case "isEmpty":
		return r.Branch == "", nil
	case "isInOrganization":
		return r.owner.Type == "Organization", nil
	case "visibility":
		return "PUBLIC", nil
	case "createdAt":
		return r.CreatedAt.UTC().Format(time.RFC3339), nil
	case "pushedAt":
		return r.PushedAt.UTC().Format(time.RFC3339), nil
	case "updatedAt":
		return r.updated().UTC().Format(time.RFC3339), nil
	case "stargazerCount":
		return r.stars(v.at), nil
	case "forkCount":
		return r.Forks, nil
	case "diskUsage":
		return r.DiskKB, nil
	case "issues":
		return v.count(x, x.timing.Items, "IssueConnection", byState(args, map[string]int64{"OPEN": r.OpenIssues, "CLOSED": r.ClosedIssues})), nil
	case "pullRequests":
		return v.count(x, x.timing.Items, "PullRequestConnection", byState(args, map[string]int64{"OPEN": r.OpenPRs, "MERGED": r.MergedPRs, "CLOSED": r.ClosedPRs})), nil
	case "latestRelease":
		if r.LatestRelease == "" {
			return nil, nil
		}
		at := r.PushedAt.UTC().Format(time.RFC3339)
		return record{"Release", map[string]any{"tagName": r.LatestRelease, "name": r.LatestRelease, "publishedAt": at, "createdAt": at}}, nil
	}
	if c, ok := r.counted(v.at)[f.Name]; ok {
		x.work(r.owner, x.timing.Count)
		return c, nil
	}
	return nil, unmodelled(v, f)
}

// count is a connection with nothing but a totalCount.
func (v repositoryObject) count(x *execution, d time.Duration, kind string, n int64) connection {
	x.work(v.r.owner, d)
	return connection{name: kind, total: n}
}

// byState sums what is in one of the states that an argument names.
func byState(args map[string]any, counts map[string]int64) (sum int64) {
	want, ok := args["states"].([]any)
	if !ok {
		want = []any{args["states"]} // one state means a list of one
	}
	for state, n := range counts {
		if args["states"] == nil || slices.Contains(want, any(state)) {
			sum += n
		}
	}
	return sum
}

func (v repositoryObject) languages(args map[string]any) connection {
	nodes := make([]any, 0, len(v.r.Languages))
	for _, l := range v.r.Languages { // they are kept by size
		nodes = append(nodes, language(l.Name))
	}
	c := listOf("LanguageConnection", nodes, args)
	c.edges = []any{}
	for i, l := range v.r.Languages {
		c.bytes += l.Bytes
		if i < len(c.nodes) {
			c.edges = append(c.edges, record{"LanguageEdge", map[string]any{"size": l.Bytes, "node": nodes[i]}})
		}
	}
	return c
}

func language(name string) record {
	return record{"Language", map[string]any{"name": name, "id": "L_" + name}}
}

// listOf is the first page of a list.
func listOf(kind string, nodes []any, args map[string]any) connection {
	c := connection{name: kind, total: int64(len(nodes))}
	if first, ok := number(args["first"]); ok {
		c.nodes = nodes[:min(int(first), len(nodes))]
		c.info.next = len(c.nodes) < len(nodes)
	}
	return c
}

// commit is the head of a default branch.
type commit struct{ of repositoryObject }

func (commit) kind() string { return "Commit" }

func (c commit) get(x *execution, f *ast.Field, args map[string]any) (any, error) {
	switch f.Name {
	case "history":
		if wrong := bounds(f, args); wrong != nil {
			return nil, wrong
		}
		return c.of.count(x, x.timing.History, "CommitHistoryConnection", c.of.r.Commits), nil
	case "committedDate":
		return c.of.r.PushedAt.UTC().Format(time.RFC3339), nil
	}
	return nil, unmodelled(c, f)
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// number reads an argument: a literal of the query or a variable.
func number(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case int:
		return int64(v), true
	case float64:
		return int64(v), true
	}
	return 0, false
}
