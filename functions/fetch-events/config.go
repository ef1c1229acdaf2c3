package fetchevents

import (
	"context"
	"strings"
	"time"

	"knative.dev/pkg/apis"

	"github.com/m7pulse/m7pulse/functions/fetch-events/github"
	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/secret"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// Config is the function's configuration, read from the environment.
type Config struct {
	serve.Pipeline
	Redis  secret.Text `env:"REDIS_URL" envDefault:"redis://127.0.0.1:6379"`
	GitHub github.Config
	// Bots are logins of programs that GitHub shows as users, besides those that are
	// known, separated by commas or white space.
	Bots string `env:"BOTS"`
	// Longest is the longest time between two readings of a feed.
	Longest time.Duration `env:"FEED_INTERVAL" envDefault:"6h"`
}

// Validate says all that is wrong with the configuration.
func (c Config) Validate(ctx context.Context) (errs *apis.FieldError) {
	if err := redisclient.Validate(string(c.Redis)); err != nil {
		errs = errs.Also(apis.ErrGeneric(err.Error(), "REDIS_URL"))
	}
	return errs.Also(c.Pipeline.Validate(ctx), c.GitHub.Validate(ctx), serve.InRange("FEED_INTERVAL", c.Longest, shortest, 24*time.Hour))
}

func (c Config) bots() []string {
	return strings.FieldsFunc(c.Bots, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
}
