package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/caarlos0/env/v11"
	"knative.dev/pkg/apis"

	"github.com/m7pulse/m7pulse/shared/address"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// Config is a function's configuration, read from the environment.
type Config interface {
	Validate(ctx context.Context) *apis.FieldError
}

// Load reads a configuration from the environment and reports all its faults at
// once.
func Load[C Config](ctx context.Context, environ map[string]string) (C, error) {
	var faults *apis.FieldError
	cfg, err := env.ParseAsWithOptions[C](env.Options{Environment: environ})
	if err != nil {
		var all env.AggregateError
		if !errors.As(err, &all) {
			return cfg, fmt.Errorf("read the configuration: %w", err)
		}
		for _, e := range all.Errors {
			faults = faults.Also(apis.ErrGeneric(e.Error()))
		}
	}
	faults = faults.Also(cfg.Validate(ctx))
	if faults != nil {
		return cfg, fmt.Errorf("configuration: %w", faults)
	}
	return cfg, nil
}

// Pipeline is the configuration that every function needs that reads or writes
// topics. It is embedded in a function's own.
type Pipeline struct {
	Kafka    kafka.Config
	Registry string `env:"SCHEMA_REGISTRY_URL" envDefault:"http://127.0.0.1:8081"`
}

// Validate implements Config.
func (p Pipeline) Validate(ctx context.Context) (errs *apis.FieldError) {
	return errs.Also(p.Kafka.Validate(ctx), address.Field("SCHEMA_REGISTRY_URL", p.Registry, event.CheckRegistry))
}

// InRange refuses a value that is less than least or more than most.
func InRange[V cmp.Ordered](variable string, value, least, most V) *apis.FieldError {
	if value < least || value > most {
		return apis.ErrOutOfBoundsValue(value, least, most, variable)
	}
	return nil
}
