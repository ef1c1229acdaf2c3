package notify

import (
	"context"

	"knative.dev/pkg/apis"

	"github.com/m7pulse/m7pulse/shared/address"
	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/secret"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// Config is the function's configuration, read from the environment.
type Config struct {
	serve.Sink
	Redis string `env:"REDIS_URL" envDefault:"redis://127.0.0.1:6379"`
	// Rules are the rules themselves, File where they are if Rules is empty. Without
	// either the function sends nothing.
	Rules secret.Text `env:"SIGNALS"`
	File  string      `env:"SIGNALS_FILE"`
}

// Validate says all that is wrong with the configuration.
func (c Config) Validate(ctx context.Context) (errs *apis.FieldError) {
	if _, err := ReadRules(string(c.Rules), c.File); err != nil {
		errs = errs.Also(apis.ErrGeneric(err.Error(), "SIGNALS"))
	}
	return errs.Also(c.Sink.Validate(ctx), address.Field("REDIS_URL", c.Redis, redisclient.Validate))
}
