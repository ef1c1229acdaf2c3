package sinkiceberg

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/catalog/rest"
	sqlcatalog "github.com/apache/iceberg-go/catalog/sql"
	_ "github.com/apache/iceberg-go/io/gocloud/s3" // the s3:// file system
	"github.com/apache/iceberg-go/table"
	"knative.dev/pkg/apis"
	_ "modernc.org/sqlite" // the driver of sqlite:// catalogs

	"github.com/m7pulse/m7pulse/shared/address"
)

// namespace holds the tables.
const namespace = "github"

// Location says where the cold store is.
type Location struct {
	Catalog   string `env:"ICEBERG_CATALOG_URI" envDefault:"http://127.0.0.1:19120/iceberg/main"` // sqlite:///path, or a REST catalog
	Warehouse string `env:"ICEBERG_WAREHOUSE"`                                                    // file:///path, s3://bucket, or a name the catalog knows
	Endpoint  string `env:"S3_ENDPOINT"`
	Region    string `env:"S3_REGION" envDefault:"us-east-1"`
	AccessKey string `env:"S3_ACCESS_KEY_ID"`
	SecretKey string `env:"S3_SECRET_ACCESS_KEY"`
}

// Validate returns all that is wrong with the addresses.
func (l Location) Validate() (errs *apis.FieldError) {
	errs = errs.Also(address.Field("ICEBERG_CATALOG_URI", l.Catalog, CheckCatalog))
	if l.Endpoint != "" {
		errs = errs.Also(address.Field("S3_ENDPOINT", l.Endpoint, func(at string) error { return address.URL(at, "http", "https") }))
	}
	return errs
}

// CheckCatalog checks an address of a catalog without quoting it.
func CheckCatalog(at string) error {
	if path, ok := strings.CutPrefix(at, "sqlite://"); ok {
		if !filepath.IsAbs(path) {
			return errors.New("want sqlite:///path, with an absolute path")
		}
		return nil
	}
	return address.URL(at, "http", "https")
}

// Open opens the catalog and returns how to close it.
func Open(ctx context.Context, at Location) (catalog.Catalog, func() error, error) {
	props := at.properties()
	if path, ok := strings.CutPrefix(at.Catalog, "sqlite://"); ok {
		return openSQLite(path, props)
	}
	opts := []rest.Option{rest.WithAdditionalProps(props), rest.WithCustomTransport(lastColumn{http.DefaultTransport})}
	if at.Warehouse != "" {
		opts = append(opts, rest.WithWarehouseLocation(at.Warehouse))
	}
	c, err := rest.NewCatalog(ctx, "m7pulse", at.Catalog, opts...)
	if err != nil {
		return nil, nil, fmt.Errorf("open the catalog %s: %w", at.Catalog, err)
	}
	return c, func() error { return nil }, nil
}

// properties are what the library needs to reach the warehouse.
func (l Location) properties() iceberg.Properties {
	props := iceberg.Properties{}
	if l.Warehouse != "" {
		props["warehouse"] = l.Warehouse
	}
	if l.Endpoint != "" {
		props["s3.endpoint"] = l.Endpoint
		props["s3.region"] = l.Region
		props["s3.access-key-id"] = l.AccessKey
		props["s3.secret-access-key"] = l.SecretKey
		props["s3.remote-signing-enabled"] = "false"
	}
	return props
}

func openSQLite(path string, props iceberg.Properties) (catalog.Catalog, func() error, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, nil, fmt.Errorf("open the catalog %s: %w", path, err)
	}
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return nil, nil, fmt.Errorf("open the catalog %s: %w", path, err)
	}
	db.SetMaxOpenConns(1) // a second connection would find the database locked
	c, err := sqlcatalog.NewCatalog("m7pulse", db, sqlcatalog.SQLite, props)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open the catalog %s: %w", path, err), db.Close())
	}
	return c, db.Close, nil
}

// layout is what a table is made of when it does not exist yet.
type layout struct {
	name      string
	schema    *iceberg.Schema
	partition string // the column by whose UTC day the table is partitioned, or ""
}

// firstPartitionField is the least id that the specification allows; the
// library's own default of 0 is refused by REST catalogs.
const firstPartitionField = 1000

// rowGroup bounds the rows of a row group: who writes or reads a file holds one
// of them, with all of its columns, in memory.
const rowGroup = 32_768

func tableProperties() iceberg.Properties {
	return iceberg.Properties{
		"write.parquet.compression-codec":            "zstd",
		"write.parquet.row-group-limit":              strconv.Itoa(rowGroup),
		"commit.manifest-merge.enabled":              "true",
		"commit.manifest.min-count-to-merge":         "20",
		"write.metadata.delete-after-commit.enabled": "true",
		"write.metadata.previous-versions-max":       "20",
	}
}

// ensure returns the table, made if it is not there, with all our columns.
func ensure(ctx context.Context, c catalog.Catalog, l layout) (*table.Table, error) {
	id := table.Identifier{namespace, l.name}
	t, err := c.LoadTable(ctx, id)
	if err == nil {
		return evolve(ctx, c, t, l)
	}
	if !errors.Is(err, catalog.ErrNoSuchTable) && !errors.Is(err, catalog.ErrNoSuchNamespace) {
		return nil, fmt.Errorf("load table %s: %w", l.name, err)
	}
	if err := c.CreateNamespace(ctx, table.Identifier{namespace}, nil); err != nil && !errors.Is(err, catalog.ErrNamespaceAlreadyExists) {
		return nil, fmt.Errorf("create namespace %s: %w", namespace, err)
	}
	opts := []catalog.CreateTableOpt{catalog.WithProperties(tableProperties())}
	if l.partition != "" {
		source, ok := l.schema.FindFieldByName(l.partition)
		if !ok {
			return nil, fmt.Errorf("create table %s: no column %s", l.name, l.partition)
		}
		field := firstPartitionField
		spec, err := iceberg.NewPartitionSpecOpts(iceberg.AddPartitionFieldBySourceID(source.ID, l.partition+"_day", iceberg.DayTransform{}, l.schema, &field))
		if err != nil {
			return nil, fmt.Errorf("create table %s: %w", l.name, err)
		}
		opts = append(opts, catalog.WithPartitionSpec(&spec))
	}
	t, err = c.CreateTable(ctx, id, l.schema, opts...)
	if errors.Is(err, catalog.ErrTableAlreadyExists) {
		t, err = c.LoadTable(ctx, id)
	}
	if err != nil {
		return nil, fmt.Errorf("create table %s: %w", l.name, err)
	}
	return t, nil
}

// schemaOf builds a table's schema from its columns.
func schemaOf[R any](cols []column[R]) *iceberg.Schema {
	fields := make([]iceberg.NestedField, len(cols))
	for i, c := range cols {
		fields[i] = iceberg.NestedField{ID: i + 1, Name: c.name, Type: c.typ, Required: c.required}
	}
	return iceberg.NewSchema(0, fields...)
}
