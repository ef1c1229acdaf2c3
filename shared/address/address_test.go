package address_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/shared/address"
)

func TestURLNeedsASchemeAHostAndAPortThatExists(t *testing.T) {
	const password = "s3cret"
	for _, a := range []string{"", "host:80", "ftp://host", "http://", "http://:80", "http:/host", "http://host:none", "http://host:0", "http://host:65536", "http://us er:" + password + "@host", "http://user:" + password + "@host:99999"} {
		if err := address.URL(a, "http", "https"); err == nil || strings.Contains(err.Error(), password) {
			t.Errorf("%q: %v", a, err)
		}
	}
	for _, a := range []string{"http://host", "https://user:p%23@host:8443/path?q=1", "http://[::1]:65535"} {
		if err := address.URL(a, "http", "https"); err != nil {
			t.Errorf("%q: %v", a, err)
		}
	}
}

func TestHostPortNeedsBoth(t *testing.T) {
	for _, a := range []string{"", "host", "host:", ":9092", "host:none", "host:0", "host:65536", "::1:9092", "tcp://host:9092"} {
		if err := address.HostPort(a); err == nil {
			t.Errorf("%q is accepted", a)
		}
	}
	for _, a := range []string{"host:1", "127.0.0.1:65535", "[::1]:9092"} {
		if err := address.HostPort(a); err != nil {
			t.Errorf("%q: %v", a, err)
		}
	}
}

func TestFieldNamesTheVariableOnly(t *testing.T) {
	reason := errors.New("want a reason")
	for value, want := range map[string]string{"": "missing field(s): X_URL", "value": "want a reason: X_URL"} {
		if err := address.Field("X_URL", value, func(string) error { return reason }); err.Error() != want {
			t.Errorf("%q: %v, want %s", value, err, want)
		}
	}
	if err := address.Field("X_URL", "value", func(string) error { return nil }); err != nil {
		t.Error(err)
	}
}
