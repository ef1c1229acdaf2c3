package serve

import (
	"context"
	"errors"
	"fmt"

	"github.com/caarlos0/env/v11"
	"knative.dev/pkg/apis"
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
