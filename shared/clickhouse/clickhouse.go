// Package clickhouse reads the address of a ClickHouse.
package clickhouse

import (
	"errors"
	"strings"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/m7pulse/m7pulse/shared/address"
)

var errForm = errors.New("want http://user:password@host:8123 or clickhouse://user:password@host:9000")

// CheckAddress checks an address without quoting it, for it may hold a password.
func CheckAddress(at string) error {
	_, err := Options(at)
	return err
}

// Options are those of a connection to http://user:password@host:port,
// https://user:password@host:port or clickhouse://user:password@host:port, the
// last with ?secure=true for TLS. No error quotes the address.
func Options(at string) (*driver.Options, error) {
	if strings.HasPrefix(at, "https://") && !strings.Contains(at, "secure=") { // the driver needs both
		mark := "?"
		if strings.Contains(at, "?") {
			mark = "&"
		}
		at += mark + "secure=true"
	}
	scheme, _, _ := strings.Cut(at, "://")
	opts, err := driver.ParseDSN(at)
	if err != nil { // err may quote the password
		return nil, errForm
	}
	for _, server := range opts.Addr {
		if address.URL(scheme+"://"+server, "http", "https", "clickhouse", "tcp") != nil {
			return nil, errForm
		}
	}
	opts.DialTimeout = 5 * time.Second
	return opts, nil
}
