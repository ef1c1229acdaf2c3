package sinkiceberg

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
)

// Probe asks the catalog which of our tables there are, and writes, reads and removes a small file in the warehouse. A catalog that names the warehouse
// itself is asked where it is by its first table; while there is none, nothing is written. It is safe to repeat.
func Probe(ctx context.Context, at Location) (tables int, err error) {
	c, closeCatalog, err := Open(ctx, at)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, closeCatalog()) }()
	made, err := c.CheckNamespaceExists(ctx, table.Identifier{namespace})
	if err != nil {
		return 0, fmt.Errorf("ask the catalog for namespace %s: %w", namespace, err)
	}
	var first table.Identifier
	if made {
		for id, err := range c.ListTables(ctx, table.Identifier{namespace}) {
			if err != nil {
				return tables, fmt.Errorf("list the tables: %w", err)
			}
			if tables == 0 {
				first = id
			}
			tables++
		}
	}
	files, folder, err := warehouse(ctx, c, at, first)
	if err != nil || files == nil {
		return tables, err
	}
	return tables, tryFile(files, folder)
}

// warehouse returns the file system of the warehouse and a folder in it, or nothing if only the catalog knows where it is and has no table yet.
func warehouse(ctx context.Context, c catalog.Catalog, at Location, first table.Identifier) (io.IO, string, error) {
	if first != nil {
		t, err := c.LoadTable(ctx, first)
		if err != nil {
			return nil, "", fmt.Errorf("load table %v: %w", first, err)
		}
		files, err := t.FS(ctx)
		return files, t.Location() + "/metadata", err
	}
	if !strings.Contains(at.Warehouse, "://") {
		return nil, "", nil
	}
	files, err := io.LoadFS(ctx, at.properties(), at.Warehouse)
	if err != nil {
		return nil, "", fmt.Errorf("open the warehouse: %w", err)
	}
	return files, at.Warehouse, nil
}

func tryFile(files io.IO, folder string) error {
	writable, ok := files.(io.WriteFileIO)
	if !ok {
		return errors.New("write to the warehouse: its file system can only be read")
	}
	name := fmt.Sprintf("%s/probe-%d", strings.TrimSuffix(folder, "/"), time.Now().UnixNano())
	if err := writable.WriteFile(name, []byte("probe")); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	f, err := files.Open(name)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		err = fmt.Errorf("read %s again: %w", name, err)
	}
	if removed := files.Remove(name); removed != nil {
		err = errors.Join(err, fmt.Errorf("remove %s: %w", name, removed))
	}
	return err
}
