package sinkiceberg

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/apache/iceberg-go/table"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// BenchmarkBulkJob drains all of a topic into a table, and writes the same rows
// from memory with arrow-go's own Parquet writer. `make bench` brings the
// servers.
func BenchmarkBulkJob(b *testing.B) {
	environ := map[string]string{}
	for _, name := range []string{"KAFKA_BROKERS", "SCHEMA_REGISTRY_URL"} {
		if environ[name] = os.Getenv(name); environ[name] == "" {
			b.Skip("it needs servers: ", name, " is not set")
		}
	}
	environ["ICEBERG_CATALOG_URI"], environ["ICEBERG_WAREHOUSE"] = "sqlite:///"+b.TempDir()+"/c.db", "file:///tmp"
	cfg, err := serve.Load[Config](b.Context(), environ)
	if err != nil {
		b.Fatal(err)
	}
	codec, err := event.NewCodec(cfg.Registry)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("drain", func(b *testing.B) {
		var rows int64
		for b.Loop() {
			b.StopTimer()
			dir := b.TempDir()
			at := Location{Catalog: "sqlite://" + filepath.Join(dir, "catalog.db"), Warehouse: "file://" + filepath.Join(dir, "warehouse")}
			s := &lazyCatalog{at: at}
			b.StartTimer()
			drainProcessed(b, cfg, codec, s)
			b.StopTimer()
			c, err := s.open(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			if rows, err = Rows(b.Context(), c, TableProcessed); err != nil {
				b.Fatal(err)
			}
			if err := s.close(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
		b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	})
	b.Run("from memory", func(b *testing.B) {
		blocks := load(b, cfg, codec)
		var rows int64
		for b.Loop() {
			rows = 0
			dir := b.TempDir()
			for i, block := range blocks {
				writeParquet(b, filepath.Join(dir, string(rune('a'+i))+".parquet"), block)
				rows += int64(len(block))
			}
		}
		b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	})
}

// BenchmarkColumns turns rows into columns, and columns into rows.
func BenchmarkColumns(b *testing.B) {
	c := processed(nil, nil, nil).(*tableStore[event.RepoProcessed])
	schema, err := table.SchemaToArrowSchema(c.layout.schema, nil, true, false)
	if err != nil {
		b.Fatal(err)
	}
	rows := make([]*event.RepoProcessed, 1_000)
	for i := range rows {
		rows[i] = complete(int64(i + 1))
	}
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			batch, err := c.batch(schema, rows)
			if err != nil {
				b.Fatal(err)
			}
			batch.Release()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(rows)), "ns/row")
	})
	b.Run("read", func(b *testing.B) {
		batch, err := c.batch(schema, rows)
		if err != nil {
			b.Fatal(err)
		}
		var row event.RepoProcessed
		for b.Loop() {
			for j, column := range c.columns {
				for i := range rows {
					column.read(batch.Column(j), i, &row)
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(rows)), "ns/row")
	})
}

// drainProcessed drains the one topic that the other side has too.
func drainProcessed(b *testing.B, cfg Config, codec *event.Codec, s *lazyCatalog) {
	b.Helper()
	d, err := kafka.NewStoreDrain(stage, cfg.Kafka, kafka.Bounds{Records: bulkBlock, Bytes: blockBytes, Age: bulkAge, Quiet: bulkQuiet},
		kafka.Share{}, map[string]kafka.Store{event.TopicProcessedRepos: processed(s, nil, codec)})
	if err != nil {
		b.Fatal(err)
	}
	if err := d.DrainAll(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := d.Stop(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// load reads all of the topic into blocks of rows.
func load(b *testing.B, cfg Config, codec *event.Codec) (blocks [][]*event.RepoProcessed) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	ends, err := kafka.Ends(ctx, cfg.Kafka, event.TopicProcessedRepos)
	if err != nil {
		b.Fatal(err)
	}
	var rows []*event.RepoProcessed
	decoder := kafka.NewDecoder(codec.ProcessedInto)
	for p, end := range ends {
		err := kafka.ReadRange(ctx, cfg.Kafka, p, 0, end, func(records []*kgo.Record, _ int64) error {
			some, _, err := decoder.Decode(ctx, records)
			rows = append(rows, some...)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return slices.Collect(slices.Chunk(rows, bulkBlock))
}

func writeParquet(b *testing.B, path string, rows []*event.RepoProcessed) {
	b.Helper()
	c := processed(nil, nil, nil).(*tableStore[event.RepoProcessed])
	schema, err := table.SchemaToArrowSchema(c.layout.schema, nil, true, false)
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w, err := pqarrow.NewFileWriter(schema, f, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd)), pqarrow.DefaultWriterProps())
	if err != nil {
		b.Fatal(err)
	}
	for chunk := range slices.Chunk(rows, batchRows) {
		batch, err := c.batch(schema, chunk)
		if err != nil {
			b.Fatal(err)
		}
		if err := w.WriteBuffered(batch); err != nil {
			b.Fatal(err)
		}
		batch.Release()
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
}
