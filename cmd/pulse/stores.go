package main

import (
	"context"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/apache/iceberg-go/catalog"
	"knative.dev/pkg/apis"

	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
)

type (
	hotStore  = driver.Conn
	coldStore = catalog.Catalog
)

// coldConfig lets the place of the cold store be loaded by itself.
type coldConfig struct {
	Location sinkiceberg.Location
}

// Validate finds no fault: opening the catalog does.
func (coldConfig) Validate(context.Context) *apis.FieldError { return nil }
