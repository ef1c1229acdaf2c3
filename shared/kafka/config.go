// Package kafka is how M7 Pulse's functions speak to Kafka: a producer, and the
// drain that reads topics in blocks and makes each durable before it goes on.
package kafka

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"knative.dev/pkg/apis"

	"github.com/m7pulse/m7pulse/shared/address"
	"github.com/m7pulse/m7pulse/shared/event"
)

// Config says where Kafka is and how to log in.
type Config struct {
	Brokers   []string `env:"KAFKA_BROKERS" envDefault:"127.0.0.1:9092"`
	TLS       bool     `env:"KAFKA_TLS"`
	Mechanism string   `env:"KAFKA_SASL_MECHANISM"` // PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, or empty
	User      string   `env:"KAFKA_SASL_USER"`
	Password  string   `env:"KAFKA_SASL_PASSWORD"`
}

// Validate returns all that is wrong with the configuration.
func (c Config) Validate(context.Context) (errs *apis.FieldError) {
	if len(c.Brokers) == 0 {
		errs = errs.Also(apis.ErrMissingField("KAFKA_BROKERS"))
	}
	for _, b := range c.Brokers {
		if err := address.HostPort(b); err != nil {
			errs = errs.Also(apis.ErrInvalidValue(b, "KAFKA_BROKERS", err.Error()))
		}
	}
	switch c.Mechanism {
	case "":
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
		if c.User == "" || c.Password == "" {
			errs = errs.Also(apis.ErrMissingField("KAFKA_SASL_USER", "KAFKA_SASL_PASSWORD"))
		}
	default:
		errs = errs.Also(apis.ErrInvalidValue(c.Mechanism, "KAFKA_SASL_MECHANISM", "want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"))
	}
	return errs
}

// Options are the options of every client, whether it reads or writes.
func (c Config) Options() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID("m7pulse"),
		kgo.WithLogger(slogger{}),
		kgo.RetryTimeout(30 * time.Second),
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.WithHooks(&event.Tracer{}),
	}
	if c.TLS {
		opts = append(opts, kgo.DialTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12}))
	}
	switch c.Mechanism {
	case "PLAIN":
		opts = append(opts, kgo.SASL(plain.Auth{User: c.User, Pass: c.Password}.AsMechanism()))
	case "SCRAM-SHA-256":
		opts = append(opts, kgo.SASL(scram.Auth{User: c.User, Pass: c.Password}.AsSha256Mechanism()))
	case "SCRAM-SHA-512":
		opts = append(opts, kgo.SASL(scram.Auth{User: c.User, Pass: c.Password}.AsSha512Mechanism()))
	}
	return opts
}

// NewProducer returns a client that writes: idempotent, acknowledged by all in-sync
// replicas; a record that is not written after 15 s fails. Options in more take
// precedence.
func NewProducer(c Config, more ...kgo.Opt) (*kgo.Client, error) {
	client, err := kgo.NewClient(slices.Concat(c.Options(), producerOptions(), more)...)
	if err != nil {
		return nil, fmt.Errorf("kafka producer: %w", err)
	}
	return client, nil
}

// NewTransactor returns a client that writes in transactions under a name. Of
// two with the same name the later one fences the earlier: from its first
// transaction on no write of the other succeeds. It writes batches of any size that
// our topics take. It has no delivery timeout, since kgo would count that from a
// record's timestamp, and the records that it sends again keep their old ones: the
// context of each call is the bound.
func NewTransactor(c Config, name string) (*kgo.Client, error) {
	opts := slices.Concat(c.Options(), producerOptions(), []kgo.Opt{
		kgo.TransactionalID(name),
		kgo.TransactionTimeout(30 * time.Second),
		kgo.ProducerBatchMaxBytes(event.TopicBatch),
		kgo.RecordDeliveryTimeout(0),
	})
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("kafka transactions: %w", err)
	}
	return client, nil
}

// producerOptions are the options of every client that writes. The default
// partitioner hashes keys as Kafka's own clients do, so every producer agrees on
// the partition of a repository.
func producerOptions() []kgo.Opt {
	return []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.SnappyCompression(), kgo.NoCompression()),
		kgo.RecordDeliveryTimeout(15 * time.Second),
		kgo.ProducerBatchMaxBytes(event.MaxBatch),
		kgo.MaxBufferedRecords(50_000),
		kgo.MaxBufferedBytes(64 << 20),
	}
}

// slogger logs the client's warnings and errors; below warning nothing is logged.
type slogger struct{}

func (slogger) Level() kgo.LogLevel { return kgo.LogLevelWarn }

func (slogger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	l := slog.LevelWarn
	if level == kgo.LogLevelError {
		l = slog.LevelError
	}
	slog.Log(context.Background(), l, "kafka: "+msg, keyvals...)
}
