package githubtest

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// object is a value of GitHub's schema: its fields by name. A field is a scalar,
// nil, an object, a list, or a field that takes arguments.
type object map[string]any

type field func(args map[string]any) (any, error)

// root is the Query type.
func (s *Server) root(limit object, viewer string) object {
	owner := func(kind string) field {
		return func(args map[string]any) (any, error) {
			login, _ := args["login"].(string)
			o := s.world.Owner(login)
			switch {
			case o != nil && (kind == "" || o.Type == kind):
				return ownerObject(o, s.light), nil
			case kind == "":
				return nil, nil // GitHub's repositoryOwner answers null and no error
			}
			return nil, &failure{Type: "NOT_FOUND", Message: fmt.Sprintf("Could not resolve to %s with the login of '%s'.", article(kind), login)}
		}
	}
	return object{
		"repositoryOwner": owner(""),
		"organization":    owner("Organization"),
		"user":            owner("User"),
		"rateLimit":       limit,
		"viewer":          object{"__typename": "User", "login": viewer},
		"repository": field(func(args map[string]any) (any, error) {
			login, _ := args["owner"].(string)
			name, _ := args["name"].(string)
			if o := s.world.Owner(login); o != nil {
				for _, r := range o.Repos {
					if strings.EqualFold(r.Name, name) {
						return repositoryObject(o, r), nil
					}
				}
			}
			return nil, &failure{Type: "NOT_FOUND", Message: fmt.Sprintf("Could not resolve to a Repository with the name '%s/%s'.", login, name)}
		}),
		"nodes": field(func(args map[string]any) (any, error) {
			ids, _ := args["ids"].([]any)
			nodes := make([]any, len(ids))
			for i, id := range ids {
				nodes[i] = s.node(id)
			}
			return nodes, nil
		}),
	}
}

func (s *Server) node(id any) any {
	for _, o := range s.world.Owners {
		for _, r := range o.Repos {
			switch {
			case fmt.Sprintf("R_%d", r.ID) != id:
			case r.Unanswered:
				return &failure{Type: "RESOURCE_LIMITS_EXCEEDED", Message: "Resource limits for this query exceeded."}
			default:
				return repositoryObject(o, r)
			}
		}
	}
	return &failure{Type: "NOT_FOUND", Message: fmt.Sprintf("Could not resolve to a node with the global id of '%v'", id)}
}

func article(kind string) string {
	if kind == "Organization" {
		return "an Organization"
	}
	return "a " + kind
}

func ownerObject(o *Owner, light bool) object {
	return object{
		"__typename": o.Type,
		"login":      o.Login,
		"repositories": field(func(args map[string]any) (any, error) {
			return repositories(o, args, light)
		}),
	}
}

// repositories pages through an owner's repositories.
func repositories(o *Owner, args map[string]any, light bool) (any, error) {
	first, ok := number(args["first"])
	if !ok || first < 1 || first > 100 {
		return nil, &failure{Type: "EXCESSIVE_PAGINATION", Message: "Requesting records on the `repositories` connection needs `first` or `last` from 1 to 100."}
	}
	all := o.public()
	from := 0
	if after, ok := args["after"].(string); ok {
		at, id, err := parseCursor(after)
		if err != nil {
			return nil, &failure{Type: "INVALID_CURSOR_ARGUMENTS", Message: fmt.Sprintf("`%s` does not appear to be a valid cursor.", after)}
		}
		for from < len(all) && (all[from].CreatedAt.Before(at) || all[from].CreatedAt.Equal(at) && all[from].ID <= id) {
			from++
		}
	}
	to := min(from+int(first), len(all))
	nodes := make([]any, 0, to-from)
	for _, r := range all[from:to] {
		if r.Unanswered && !light {
			nodes = append(nodes, &failure{Type: "RESOURCE_LIMITS_EXCEEDED", Message: "Resource limits for this query exceeded."})
			continue
		}
		nodes = append(nodes, repositoryObject(o, r))
	}
	info := object{"hasNextPage": to < len(all), "endCursor": nil}
	if to > from {
		info["endCursor"] = cursorOf(all[to-1])
	}
	return object{"totalCount": len(all), "pageInfo": info, "nodes": nodes}, nil
}

func repositoryObject(o *Owner, r *Repo) object {
	var languages, topics []any
	for _, l := range r.Languages {
		languages = append(languages, object{"size": l.Bytes, "node": object{"name": l.Name}})
	}
	for _, t := range r.Topics {
		topics = append(topics, object{"topic": object{"name": t}})
	}
	v := object{
		"__typename":       "Repository",
		"id":               fmt.Sprintf("R_%d", r.ID),
		"databaseId":       r.ID,
		"nameWithOwner":    o.Login + "/" + r.Name,
		"description":      orNull(r.Description),
		"primaryLanguage":  nil,
		"languages":        object{"edges": orEmpty(languages)},
		"repositoryTopics": object{"nodes": orEmpty(topics)},
		"licenseInfo":      nil,
		"defaultBranchRef": nil,
		"isFork":           r.Fork,
		"isArchived":       r.Archived,
		"isPrivate":        r.Private,
		"createdAt":        r.CreatedAt.Format(time.RFC3339),
		"pushedAt":         r.PushedAt.Format(time.RFC3339),
		"updatedAt":        r.PushedAt.Format(time.RFC3339),
		"stargazerCount":   r.Stars,
		"forkCount":        r.Forks,
		"watchers":         total(r.Watchers),
		"issues":           byState(map[string]int64{"OPEN": r.OpenIssues, "CLOSED": r.ClosedIssues}),
		"pullRequests":     byState(map[string]int64{"OPEN": r.OpenPRs, "MERGED": r.MergedPRs, "CLOSED": r.ClosedPRs}),
		"discussions":      total(r.Discussions),
		"releases":         total(r.Releases),
		"latestRelease":    nil,
		"diskUsage":        r.DiskKB,
	}
	if r.Language != "" {
		v["primaryLanguage"] = object{"name": r.Language}
	}
	if r.License != "" {
		v["licenseInfo"] = object{"spdxId": r.License}
	}
	if r.Branch != "" {
		v["defaultBranchRef"] = object{"name": r.Branch, "target": object{"__typename": "Commit", "history": total(r.Commits)}}
	}
	if r.LatestRelease != "" {
		v["latestRelease"] = object{"tagName": r.LatestRelease, "publishedAt": r.PushedAt.Format(time.RFC3339)}
	}
	return v
}

func total(n int64) object { return object{"totalCount": n} }

// byState is a connection that counts what is in one of the given states.
func byState(counts map[string]int64) field {
	return func(args map[string]any) (any, error) {
		var sum int64
		for state, n := range counts {
			switch want := args["states"].(type) {
			case nil:
				sum += n
			case string:
				if want == state {
					sum += n
				}
			case []any:
				for _, w := range want {
					if w == state {
						sum += n
					}
				}
			}
		}
		return total(sum), nil
	}
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func orEmpty(list []any) []any {
	if list == nil {
		return []any{}
	}
	return list
}

// A cursor is the place of a repository in the order of creation, so it stays
// good when a repository before it or the very one is deleted.
func cursorOf(r *Repo) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "cursor:v2:%d:%d", r.CreatedAt.Unix(), r.ID))
}

func parseCursor(cursor string) (at time.Time, id int64, err error) {
	text, err := base64.StdEncoding.DecodeString(cursor)
	if err != nil {
		return at, 0, err
	}
	created, number, ok := strings.Cut(strings.TrimPrefix(string(text), "cursor:v2:"), ":")
	seconds, err1 := strconv.ParseInt(created, 10, 64)
	id, err2 := strconv.ParseInt(number, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return at, 0, fmt.Errorf("cursor %q", cursor)
	}
	return time.Unix(seconds, 0), id, nil
}

// number reads an argument: a literal of the query or a variable.
func number(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case float64:
		return int64(v), true
	}
	return 0, false
}
