package sweep

import (
	"fmt"
	"strings"

	"knative.dev/pkg/apis"
)

// CheckOwners says all that is wrong with the owners that a list and a file name,
// as OWNERS and OWNERS_FILE do; each may be "". Faults of the file have their line.
func CheckOwners(list, file string) error {
	if _, faults := ReadRoster(list, file); faults != nil {
		return faults
	}
	return nil
}

// ReadRoster reads the owners of a list and of a file, and says all that is
// wrong with them.
func ReadRoster(list, file string) (Roster, *apis.FieldError) {
	r := Roster{}
	var errs *apis.FieldError
	for _, entry := range split(list) {
		o, err := ParseOwner(entry)
		if err == nil {
			err = r.add(o)
		}
		if err != nil {
			errs = errs.Also(apis.ErrGeneric(err.Error(), "OWNERS"))
		}
	}
	if file != "" {
		for _, err := range r.addFile(file) {
			errs = errs.Also(apis.ErrGeneric(err.Error(), "OWNERS_FILE"))
		}
	}
	if len(r) > maxOwners {
		errs = errs.Also(apis.ErrGeneric(fmt.Sprintf("%d owners listed: at most %d are supported", len(r), maxOwners), "OWNERS", "OWNERS_FILE"))
	}
	return r, errs
}

// split cuts a list at commas and white space.
func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
}
