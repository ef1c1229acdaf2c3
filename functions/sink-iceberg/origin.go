package sinkiceberg

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
)

// propertyKind is the property of the namespace that records where its data comes
// from.
const propertyKind = "m7pulse.kind"

// Origin is a cold store's record of where its data comes from.
type Origin struct{ Catalog catalog.Catalog }

// Kind returns what the store holds, or "" if that is not recorded.
func (o Origin) Kind(ctx context.Context) (string, error) {
	props, err := o.Catalog.LoadNamespaceProperties(ctx, table.Identifier{namespace})
	if errors.Is(err, catalog.ErrNoSuchNamespace) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the properties of namespace %s: %w", namespace, err)
	}
	return props[propertyKind], nil
}

// KeepKind records what the store holds, unless that is recorded already. It is safe
// to repeat.
func (o Origin) KeepKind(ctx context.Context, kind string) error {
	noted := iceberg.Properties{propertyKind: kind}
	err := o.Catalog.CreateNamespace(ctx, table.Identifier{namespace}, noted)
	if err == nil {
		return nil
	}
	if !errors.Is(err, catalog.ErrNamespaceAlreadyExists) {
		return fmt.Errorf("create namespace %s: %w", namespace, err)
	}
	if holds, err := o.Kind(ctx); err != nil || holds != "" {
		return err
	}
	if _, err := o.Catalog.UpdateNamespaceProperties(ctx, table.Identifier{namespace}, nil, noted); err != nil {
		return fmt.Errorf("set %s of namespace %s: %w", propertyKind, namespace, err)
	}
	return nil
}
