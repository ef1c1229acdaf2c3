package fetchorg

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"knative.dev/pkg/apis"

	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/redisclient"
)

// Config is the function's configuration, read from the environment.
type Config struct {
	Kafka    kafka.Config
	Registry string `env:"SCHEMA_REGISTRY_URL" envDefault:"http://127.0.0.1:8081"`
	// Owners are the owners to sweep, as login, owner/name, company=login or
	// company=owner/name, separated by commas or spaces. OwnersFile names a YAML
	// file with more of them. Both seed the list in Redis.
	Owners     string `env:"OWNERS"`
	OwnersFile string `env:"OWNERS_FILE"`
	// Period is the schedule's: a tick's time, truncated to it, names the sweep.
	Period time.Duration `env:"SWEEP_PERIOD" envDefault:"1h"`
	Asking Asking
}

// Asking is what is needed to ask GitHub.
type Asking struct {
	Redis secret `env:"REDIS_URL" envDefault:"redis://127.0.0.1:6379"` // may hold a password
	// Tokens of one or more GitHub users, separated by commas. One is used until
	// its user's budgets are spent, then the next. Without any the function runs
	// and refuses events, so that the secret may be added after the installation.
	Tokens  secret `env:"GITHUB_TOKEN"`
	GraphQL string `env:"GITHUB_GRAPHQL_URL" envDefault:"https://api.github.com/graphql"` // of GitHub Enterprise: https://host/api/graphql
	// PageSize is how many repositories the first page asks for; after that the
	// width is learnt.
	PageSize int `env:"PAGE_SIZE" envDefault:"25"`
	// ClockScale makes time run that many times as fast from ClockOrigin on, to test
	// hours of GitHub's limits in seconds against an emulator that does the same.
	ClockScale  float64   `env:"CLOCK_SCALE" envDefault:"1"`
	ClockOrigin time.Time `env:"CLOCK_ORIGIN"`
}

func (c Asking) clock() clock {
	if c.ClockScale == 1 {
		return clock{now: time.Now, scale: 1}
	}
	return newClock(c.ClockOrigin, c.ClockScale)
}

// Validate says all that is wrong with the configuration.
func (c Config) Validate(ctx context.Context) (errs *apis.FieldError) {
	errs = errs.Also(c.Kafka.Validate(ctx))
	if c.Registry == "" {
		errs = errs.Also(apis.ErrMissingField("SCHEMA_REGISTRY_URL"))
	}
	errs = errs.Also(c.Asking.Validate(ctx))
	if c.Period < time.Minute || c.Period > 24*time.Hour {
		errs = errs.Also(apis.ErrOutOfBoundsValue(c.Period, time.Minute, 24*time.Hour, "SWEEP_PERIOD"))
	}
	_, faults := readRoster(c.Owners, c.OwnersFile)
	return errs.Also(faults)
}

// Validate says all that is wrong with the configuration.
func (c Asking) Validate(context.Context) (errs *apis.FieldError) {
	if err := redisclient.Validate(string(c.Redis)); err != nil {
		errs = errs.Also(apis.ErrGeneric(err.Error(), "REDIS_URL"))
	}
	if u, err := url.Parse(c.GraphQL); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		errs = errs.Also(apis.ErrInvalidValue(c.GraphQL, "GITHUB_GRAPHQL_URL", "want http(s)://host/path"))
	}
	if c.PageSize < 1 || c.PageSize > 100 {
		errs = errs.Also(apis.ErrOutOfBoundsValue(c.PageSize, 1, 100, "PAGE_SIZE"))
	}
	if c.ClockScale != 1 && (c.ClockScale < 1 || c.ClockScale > 10_000 || c.ClockOrigin.IsZero()) {
		errs = errs.Also(apis.ErrGeneric("want a scale from 1 to 10000 and the origin as a time", "CLOCK_SCALE", "CLOCK_ORIGIN"))
	}
	return errs
}

func (c Asking) tokens() []string { return split(string(c.Tokens)) }

// split cuts a list at commas and white space.
func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
}

// secret is a text that printers, loggers and encoders do not show.
type secret string

const hidden = "[secret]"

func (secret) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(hidden)) }
func (secret) LogValue() slog.Value         { return slog.StringValue(hidden) }
func (secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
