package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	fetchorg "github.com/m7pulse/m7pulse/functions/fetch-org"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/shared/event"
)

// checkStart says all that is wrong with the settings of a start: the home, each
// address that is given, and the owners. It connects to nothing. No error quotes an
// address, which may hold a password.
func checkStart(ctx context.Context, p *place) error {
	home, err := filepath.Abs(string(p.home))
	if err != nil {
		return fmt.Errorf("find PULSE_HOME: %w", err)
	}
	var errs []error
	if err := checkPath("PULSE_HOME", home); err != nil {
		errs = append(errs, err)
	}
	for _, check := range []struct {
		name string
		of   func(address string) error
	}{
		{"KAFKA_BROKERS", func(string) error { _, err := stack.KafkaOf(ctx, p.env); return err }},
		{"SCHEMA_REGISTRY_URL", func(address string) error {
			if err := checkURL(address, "http", "https"); err != nil {
				return err
			}
			_, err := event.NewCodec(address)
			return err
		}},
		{"REDIS_URL", func(address string) error {
			list, err := fetchorg.OpenOwners(address)
			if err != nil {
				return err
			}
			return list.Close()
		}},
		{"CLICKHOUSE_URL", func(address string) error {
			if err := checkURL(address, "http", "https", "clickhouse", "tcp"); err != nil {
				return err
			}
			conn, err := sinkclickhouse.Open(address)
			if err != nil {
				return err
			}
			return conn.Close()
		}},
		{"CLICKHOUSE_READER_URL", func(address string) error { return checkURL(address, "http", "https") }},
		{"ICEBERG_CATALOG_URI", func(address string) error {
			if p.env["ICEBERG_WAREHOUSE"] == "" && strings.HasPrefix(address, "sqlite://") {
				return errors.New("ICEBERG_WAREHOUSE must be set with it")
			}
			path, ok := strings.CutPrefix(address, "sqlite://")
			switch {
			case !ok:
				return checkURL(address, "http", "https")
			case !filepath.IsAbs(path):
				return errors.New("want sqlite:///path, with an absolute path")
			}
			return checkPath("its path", path)
		}},
		{"ICEBERG_WAREHOUSE", func(address string) error {
			if path, ok := strings.CutPrefix(address, "file://"); ok {
				return checkPath("its path", path)
			}
			return nil // a bucket, or a name that the catalog knows
		}},
		{"S3_ENDPOINT", func(address string) error { return checkURL(address, "http", "https") }},
		{"TRINO_URL", func(address string) error {
			if err := checkURL(address, "http", "https"); err != nil {
				return err
			}
			u, err := url.Parse(address)
			if err != nil || u.User.Username() == "" {
				return errors.New("want http://user@host:port or https://user:password@host:port")
			}
			return nil
		}},
		{"GITHUB_GRAPHQL_URL", func(address string) error { return checkURL(address, "http", "https") }},
	} {
		if address := p.env[check.name]; address != "" {
			err := check.of(address)
			if err != nil && !strings.HasPrefix(strings.TrimPrefix(err.Error(), "invalid "), check.name) { // some name it themselves
				err = fmt.Errorf("%s: %w", check.name, err)
			}
			errs = append(errs, err)
		}
	}
	if stack.Live(p.env) {
		if err := fetchorg.CheckOwners(p.env["OWNERS"], stack.OwnersFile(p.env, p.root)); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// checkPath refuses a path that cannot be a part of an address: the catalog and
// the warehouse of Iceberg are named by URLs.
func checkPath(what, path string) error {
	if strings.ContainsAny(path, "#?%") || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%s %q: #, ?, %% and control characters cannot be in the path of an Iceberg table; choose another folder", what, path)
	}
	return nil
}

// checkURL refuses what is not an absolute URL of one of these schemes, with a
// host and, if there is one, a port that exists.
func checkURL(address string, schemes ...string) error {
	form := fmt.Errorf("want an address such as %s://host:port", schemes[0])
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || !slices.Contains(schemes, u.Scheme) { // err may quote the password
		return form
	}
	if u.Port() != "" {
		if port, err := strconv.Atoi(u.Port()); err != nil || port < 1 || port > 65_535 {
			return fmt.Errorf("invalid port %s: want 1 to 65535", u.Port())
		}
	}
	return nil
}
