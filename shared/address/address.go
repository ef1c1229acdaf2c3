// Package address checks the addresses of servers that a configuration holds. It
// connects to nothing, and no error quotes an address, which may hold a password.
package address

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"

	"knative.dev/pkg/apis"
)

// URL refuses what is not an absolute URL of one of these schemes with a host and, if
// it has a port, one from 1 to 65535.
func URL(address string, schemes ...string) error {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || !slices.Contains(schemes, u.Scheme) { // err may quote the password
		return fmt.Errorf("want an address such as %s://host:port", schemes[0])
	}
	if u.Port() != "" && !isPort(u.Port()) {
		return fmt.Errorf("invalid port %s: want 1 to 65535", u.Port())
	}
	return nil
}

// HostPort refuses what is not a host and a port from 1 to 65535.
func HostPort(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || !isPort(port) {
		return errors.New("want host:port")
	}
	return nil
}

func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}

// Field is the result of a check of a variable, as part of the faults of a
// configuration. A variable that is empty is missing.
func Field(variable, address string, check func(address string) error) *apis.FieldError {
	if address == "" {
		return apis.ErrMissingField(variable)
	}
	if err := check(address); err != nil {
		return apis.ErrGeneric(err.Error(), variable)
	}
	return nil
}
