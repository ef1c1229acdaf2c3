package github

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"knative.dev/pkg/apis"

	"github.com/m7pulse/m7pulse/shared/redisclient"
)

// Config is what is needed to ask GitHub, read from the environment.
type Config struct {
	Redis Secret `env:"REDIS_URL" envDefault:"redis://127.0.0.1:6379"` // may hold a password
	// Tokens of one or more GitHub users, separated by commas. One is used until
	// its user's budgets are spent, then the next. Without any the function runs
	// and refuses events, so that the secret may be added after the installation.
	Tokens Secret `env:"GITHUB_TOKEN"`
	URL    string `env:"GITHUB_GRAPHQL_URL" envDefault:"https://api.github.com/graphql"` // of GitHub Enterprise: https://host/api/graphql
	// PageSize is how many repositories the first page asks for; after that the
	// width is learnt.
	PageSize int `env:"PAGE_SIZE" envDefault:"25"`
}

// Validate says all that is wrong with the configuration.
func (c Config) Validate(context.Context) (errs *apis.FieldError) {
	if err := redisclient.Validate(string(c.Redis)); err != nil {
		errs = errs.Also(apis.ErrGeneric(err.Error(), "REDIS_URL"))
	}
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		errs = errs.Also(apis.ErrInvalidValue(c.URL, "GITHUB_GRAPHQL_URL", "want http(s)://host/path"))
	}
	if c.PageSize < 1 || c.PageSize > 100 {
		errs = errs.Also(apis.ErrOutOfBoundsValue(c.PageSize, 1, 100, "PAGE_SIZE"))
	}
	return errs
}

func (c Config) tokens() []string {
	return strings.FieldsFunc(string(c.Tokens), func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
}

// Secret is a text that printers, loggers and encoders do not show.
type Secret string

const hidden = "[secret]"

// Format writes a placeholder, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue is a placeholder.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText returns a placeholder.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
