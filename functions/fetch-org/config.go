package fetchorg

import (
	"context"
	"time"

	"knative.dev/pkg/apis"

	"github.com/m7pulse/m7pulse/functions/fetch-org/github"
	"github.com/m7pulse/m7pulse/functions/fetch-org/sweep"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// Config is the function's configuration, read from the environment.
type Config struct {
	serve.Pipeline
	// Owners are the owners to sweep, as login, owner/name, company=login or
	// company=owner/name, separated by commas or spaces. OwnersFile names a YAML
	// file with more of them. Both seed the list in Redis.
	Owners     string `env:"OWNERS"`
	OwnersFile string `env:"OWNERS_FILE"`
	// Period is the schedule's: a tick's time, truncated to it, names the sweep.
	Period time.Duration `env:"SWEEP_PERIOD" envDefault:"1h"`
	GitHub github.Config
}

// Validate says all that is wrong with the configuration.
func (c Config) Validate(ctx context.Context) (errs *apis.FieldError) {
	errs = errs.Also(c.Pipeline.Validate(ctx), c.GitHub.Validate(ctx))
	if c.Period < time.Minute || c.Period > 24*time.Hour {
		errs = errs.Also(apis.ErrOutOfBoundsValue(c.Period, time.Minute, 24*time.Hour, "SWEEP_PERIOD"))
	}
	_, faults := sweep.ReadRoster(c.Owners, c.OwnersFile)
	return errs.Also(faults)
}
