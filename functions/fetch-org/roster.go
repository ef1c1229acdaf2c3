package fetchorg

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"knative.dev/pkg/apis"
)

// maxOwners bounds one sweep.
const maxOwners = 10_000

// roster is who is swept, and to which company each belongs. Logins are in
// lower case: GitHub does not tell the cases apart, so neither may our keys.
type roster struct {
	logins  []string // sorted
	company map[string]string
}

// companyOf returns the company of an owner, nil if it has none.
func (r *roster) companyOf(login string) *string {
	if c := r.company[login]; c != "" {
		return &c
	}
	return nil
}

func (r *roster) add(login, company string) error {
	login = strings.ToLower(login)
	if err := checkLogin(login); err != nil {
		return err
	}
	if was, ok := r.company[login]; ok && was != company {
		return fmt.Errorf("owner %s belongs to both %q and %q", login, was, company)
	}
	r.company[login] = company
	return nil
}

// readRoster reads the owners of a list and of a file, and says all that is
// wrong with them.
func readRoster(list, file string) (roster, *apis.FieldError) {
	r := roster{company: map[string]string{}}
	var errs *apis.FieldError
	for _, entry := range split(list) {
		company, login, ok := strings.Cut(entry, "=")
		if !ok {
			company, login = "", entry
		}
		if err := r.add(login, company); err != nil {
			errs = errs.Also(apis.ErrGeneric(err.Error(), "OWNERS"))
		}
	}
	if file != "" {
		for _, err := range r.addFile(file) {
			errs = errs.Also(apis.ErrGeneric(err.Error(), "OWNERS_FILE"))
		}
	}
	for login := range r.company {
		r.logins = append(r.logins, login)
	}
	slices.Sort(r.logins)
	switch {
	case len(r.logins) > maxOwners:
		errs = errs.Also(apis.ErrGeneric(fmt.Sprintf("%d owners, more than %d", len(r.logins), maxOwners), "OWNERS", "OWNERS_FILE"))
	case len(r.logins) == 0 && errs == nil:
		errs = apis.ErrMissingOneOf("OWNERS", "OWNERS_FILE")
	}
	return r, errs
}

// addFile adds the owners of a file such as
//
//	companies:
//	  meta: [facebook, facebookresearch]
func (r *roster) addFile(name string) (errs []error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return []error{err}
	}
	var content struct {
		Companies map[string][]string `yaml:"companies"`
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&content); err != nil && !errors.Is(err, io.EOF) {
		return []error{fmt.Errorf("%s: %w", name, err)}
	}
	for company, logins := range content.Companies {
		for _, login := range logins {
			if err := r.add(login, company); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	return errs
}

// checkLogin refuses what can be no login of GitHub, and could so disturb a key
// or a query.
func checkLogin(login string) error {
	ok := login != "" && len(login) <= 100 && !strings.HasPrefix(login, "-")
	for _, r := range login {
		ok = ok && (r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}
	if !ok {
		return fmt.Errorf("%q is no login", login)
	}
	return nil
}
