package sinkiceberg

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// evolve adds the columns that the table lacks, and drops the rates that older
// programs stored, which can be computed from the rest of a row. In an added column
// earlier rows are null; so one that may not be null cannot be added. Other columns
// stay: they may be a newer program's. Of two writers that do this at once one
// succeeds, and the other tries again with the current table.
func evolve(ctx context.Context, c catalog.Catalog, t *table.Table, l layout) (*table.Table, error) {
	missing, stale := lacking(t.Schema(), l.schema), rates(t.Schema())
	if len(missing) == 0 && len(stale) == 0 {
		return t, nil
	}
	txn := t.NewTransaction()
	update := txn.UpdateSchema(true, false)
	for _, name := range stale {
		update.DeleteColumn([]string{name})
	}
	for _, f := range missing {
		if f.Required {
			return nil, fmt.Errorf("%w: table %s has no column %s, which must not be null: it is not ours", kafka.ErrFatal, l.name, f.Name)
		}
		update.AddColumn([]string{f.Name}, f.Type, f.Doc, false, nil)
	}
	err := update.Commit()
	if err == nil {
		_, err = txn.Commit(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("add %d columns to table %s and drop %d: %w", len(missing), l.name, len(stale), err)
	}
	if t, err = c.LoadTable(ctx, table.Identifier{namespace, l.name}); err != nil {
		return nil, fmt.Errorf("load table %s: %w", l.name, err)
	}
	return t, nil
}

// rates are the columns of rates that a table has.
func rates(have *iceberg.Schema) (names []string) {
	for _, r := range velocity.Rates() {
		if _, ok := have.FindFieldByName(r.Name); ok {
			names = append(names, r.Name)
		}
	}
	return names
}

// lacking lists the columns of one schema that another does not have.
func lacking(have, want *iceberg.Schema) (out []iceberg.NestedField) {
	for _, f := range want.Fields() {
		if _, ok := have.FindFieldByName(f.Name); !ok {
			out = append(out, f)
		}
	}
	return out
}

// lastColumn adds to every schema sent to a REST catalog the highest field id
// in it: iceberg-go leaves it out, as the specification now allows, and Nessie
// 0.99 demands it.
type lastColumn struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t lastColumn) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPost || r.Body == nil || !strings.Contains(r.URL.Path, "/tables/") {
		return t.RoundTripper.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if err := r.Body.Close(); err != nil {
		return nil, err
	}
	body = withLastColumn(body)
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	return t.RoundTripper.RoundTrip(r)
}

// withLastColumn returns a commit with last-column-id in its add-schema updates. A
// body that cannot be parsed is returned as it is, for the server to refuse.
func withLastColumn(body []byte) []byte {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var commit map[string]any
	if err := d.Decode(&commit); err != nil {
		return body
	}
	updates, _ := commit["updates"].([]any)
	for _, u := range updates {
		if u, ok := u.(map[string]any); ok && u["action"] == "add-schema" && u["last-column-id"] == nil {
			u["last-column-id"] = highestID(u["schema"])
		}
	}
	if changed, err := json.Marshal(commit); err == nil {
		return changed
	}
	return body
}

func highestID(v any) (highest int64) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if n, ok := value.(json.Number); ok && (key == "id" || strings.HasSuffix(key, "-id") && key != "schema-id") {
				if id, err := n.Int64(); err == nil {
					highest = max(highest, id)
				}
			}
			highest = max(highest, highestID(value))
		}
	case []any:
		for _, value := range v {
			highest = max(highest, highestID(value))
		}
	}
	return highest
}
