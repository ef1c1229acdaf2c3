package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/m7pulse/m7pulse/functions/fetch-org/sweep"
	"github.com/m7pulse/m7pulse/functions/notify"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/shared/address"
	"github.com/m7pulse/m7pulse/shared/clickhouse"
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
		{"SCHEMA_REGISTRY_URL", event.CheckRegistry},
		{"REDIS_URL", func(given string) error {
			list, err := sweep.OpenOwners(given)
			if err != nil {
				return err
			}
			return list.Close()
		}},
		{"CLICKHOUSE_URL", clickhouse.CheckAddress},
		{"CLICKHOUSE_READER_URL", func(given string) error { return address.URL(given, "http", "https") }},
		{"ICEBERG_CATALOG_URI", func(given string) error {
			if err := sinkiceberg.CheckCatalog(given); err != nil {
				return err
			}
			path, ok := strings.CutPrefix(given, "sqlite://")
			switch {
			case !ok:
				return nil
			case p.env["ICEBERG_WAREHOUSE"] == "":
				return errors.New("ICEBERG_WAREHOUSE must be set with it")
			}
			return checkPath("its path", path)
		}},
		{"ICEBERG_WAREHOUSE", func(given string) error {
			if path, ok := strings.CutPrefix(given, "file://"); ok {
				return checkPath("its path", path)
			}
			return nil // a bucket, or a name that the catalog knows
		}},
		{"S3_ENDPOINT", func(given string) error { return address.URL(given, "http", "https") }},
		{"CONNECT_URL", func(given string) error { return address.URL(given, "http", "https") }},
		{"TRINO_URL", func(given string) error {
			if err := address.URL(given, "http", "https"); err != nil {
				return err
			}
			u, err := url.Parse(given)
			if err != nil || u.User.Username() == "" {
				return errors.New("want http://user@host:port or https://user:password@host:port")
			}
			return nil
		}},
		{"GITHUB_GRAPHQL_URL", func(given string) error { return address.URL(given, "http", "https") }},
	} {
		if given := p.env[check.name]; given != "" {
			err := check.of(given)
			if err != nil && !strings.HasPrefix(strings.TrimPrefix(err.Error(), "invalid "), check.name) { // some name it themselves
				err = fmt.Errorf("%s: %w", check.name, err)
			}
			errs = append(errs, err)
		}
	}
	if _, err := notify.ReadRules(p.env["SIGNALS"], stack.SignalsFile(p.env, p.root)); err != nil {
		errs = append(errs, err)
	}
	if stack.Live(p.env) {
		if err := sweep.CheckOwners(p.env["OWNERS"], stack.OwnersFile(p.env, p.root)); err != nil {
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
