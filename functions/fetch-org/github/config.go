package github

import (
	"context"
	"net/url"

	"knative.dev/pkg/apis"

	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/secret"
)

// Config is what is needed to ask GitHub, read from the environment.
type Config struct {
	Redis secret.Text `env:"REDIS_URL" envDefault:"redis://127.0.0.1:6379"` // may hold a password
	// Tokens of one or more GitHub users, separated by commas. One is used until
	// its user's budgets are spent, then the next. Without any the function runs
	// and refuses events, so that the secret may be added after the installation.
	Tokens secret.Text `env:"GITHUB_TOKEN"`
	URL    string      `env:"GITHUB_GRAPHQL_URL" envDefault:"https://api.github.com/graphql"` // of GitHub Enterprise: https://host/api/graphql
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
