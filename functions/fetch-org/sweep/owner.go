package sweep

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
)

// maxOwners bounds one sweep, maxListed the names and patterns of one owner.
const (
	maxOwners = 10_000
	maxListed = 1_000
)

// Owner is an organization or a person whose public repositories are swept: all
// of them, those that patterns choose, or some by name. Its login is in lower
// case: GitHub ignores case, so our keys must too.
type Owner struct {
	Login   string   `json:"login"`
	Company string   `json:"company,omitempty"` // "" for none
	Repos   []string `json:"repos,omitempty"`   // names; none: all repositories
	// Include and Exclude are patterns of names such as "aws-*", as path.Match
	// takes them, in lower case. Without Include every name is included.
	Include []string `json:"include,omitempty"`
	Exclude []string `json:"exclude,omitempty"`

	Seeded  bool `json:"seeded,omitempty"`  // it comes from OWNERS or OWNERS_FILE
	Removed bool `json:"removed,omitempty"` // and is not to be added from there again
}

// company is nil for an owner without a company.
func (o *Owner) company() *string {
	if o.Company == "" {
		return nil
	}
	return &o.Company
}

// choice identifies which of its repositories are to be swept.
func (o *Owner) choice() string {
	h := sha256.New()
	for _, list := range [][]string{o.Repos, o.Include, o.Exclude} {
		fmt.Fprintf(h, "%q\n", list)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Includes says whether a repository is one of those to be swept.
func (o *Owner) Includes(nameWithOwner string) bool {
	if len(o.Repos) > 0 { // these are followed by id, whatever their names become
		return true
	}
	_, name, _ := strings.Cut(strings.ToLower(nameWithOwner), "/")
	matches := func(pattern string) bool {
		ok, _ := path.Match(pattern, name) // checked when it was listed
		return ok
	}
	return (len(o.Include) == 0 || slices.ContainsFunc(o.Include, matches)) && !slices.ContainsFunc(o.Exclude, matches)
}

// normal returns an owner in the one form that is stored, or what is wrong with it.
func (o Owner) normal() (Owner, error) {
	lower := func(list []string) []string {
		var out []string
		for _, e := range list {
			if e = strings.ToLower(strings.TrimSpace(e)); e != "" {
				out = append(out, e)
			}
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	o.Login = strings.ToLower(o.Login)
	o.Repos, o.Include, o.Exclude = lower(o.Repos), lower(o.Include), lower(o.Exclude)
	if err := checkLogin(o.Login); err != nil {
		return o, err
	}
	if len(o.Company) > 100 {
		return o, fmt.Errorf("the company of %s has more than 100 bytes", o.Login)
	}
	if len(o.Repos)+len(o.Include)+len(o.Exclude) > maxListed {
		return o, fmt.Errorf("owner %s lists more than %d repositories and patterns", o.Login, maxListed)
	}
	if len(o.Repos) > 0 && len(o.Include)+len(o.Exclude) > 0 {
		return o, fmt.Errorf("owner %s lists both repositories and patterns: want one of the two", o.Login)
	}
	for _, name := range o.Repos {
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || len(name) > 100 {
			return o, fmt.Errorf("invalid repository name %q", o.Login+"/"+name)
		}
	}
	for _, pattern := range slices.Concat(o.Include, o.Exclude) {
		if _, err := path.Match(pattern, ""); err != nil {
			return o, fmt.Errorf("pattern %q of owner %s: %w", pattern, o.Login, err)
		}
	}
	return o, nil
}

// ParseOwner reads one owner from a text such as login, company=login,
// owner/name or company=owner/name. In place of the login or owner/name there may
// be its address on github.com.
func ParseOwner(text string) (Owner, error) {
	company, who, ok := strings.Cut(text, "=")
	if !ok || isAddress(text) {
		company, who = "", text
	}
	if isAddress(who) {
		var err error
		if who, err = ofAddress(who); err != nil {
			return Owner{}, err
		}
	}
	o := Owner{Company: company}
	login, name, single := strings.Cut(who, "/")
	if o.Login = login; single {
		o.Repos = []string{name}
		if strings.TrimSpace(name) == "" {
			return o, fmt.Errorf("invalid repository %q: want owner/name", text)
		}
	}
	return o.normal()
}

// sshPrefix is how the SSH address of a repository begins.
const sshPrefix = "git@github.com:"

func isAddress(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, "://") && !strings.Contains(strings.SplitN(text, "://", 2)[0], "=") ||
		strings.HasPrefix(text, "github.com/") || strings.HasPrefix(text, "www.github.com/") || strings.HasPrefix(text, sshPrefix)
}

// ofAddress is the login or owner/name that an address on github.com belongs to.
func ofAddress(address string) (string, error) {
	rest, ssh := strings.CutPrefix(address, sshPrefix)
	if ssh {
		rest = "ssh://github.com/" + rest
	} else if !strings.Contains(rest, "://") {
		rest = "https://" + rest
	}
	u, err := url.Parse(rest)
	if err != nil || !slices.Contains([]string{"https", "http", "ssh", "git"}, u.Scheme) || !slices.Contains([]string{"github.com", "www.github.com"}, strings.ToLower(u.Hostname())) {
		return "", fmt.Errorf("invalid address %q: want one on github.com", address)
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	if parts[0] == "orgs" && len(parts) > 1 {
		return parts[1], nil
	}
	if parts[0] == "" {
		return "", fmt.Errorf("invalid address %q: want one of an owner or a repository", address)
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return parts[0] + "/" + strings.TrimSuffix(parts[1], ".git"), nil
}

// checkLogin refuses what cannot be a login of GitHub and could break a key or a
// query.
func checkLogin(login string) error {
	ok := login != "" && len(login) <= 100 && !strings.HasPrefix(login, "-")
	for _, r := range login {
		ok = ok && (r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}
	if !ok {
		return fmt.Errorf("invalid login %q", login)
	}
	return nil
}
