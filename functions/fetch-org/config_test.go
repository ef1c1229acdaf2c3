package fetchorg

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/functions/fetch-org/github"
)

func TestAllFaultsOfTheConfigurationAreToldAtOnce(t *testing.T) {
	_, err := open(t.Context(), map[string]string{
		"REDIS_URL": "redis://:hunter2@[broken", "GITHUB_GRAPHQL_URL": "api.github.com", "OWNERS": "a=b=c, x y, p=x",
		"SWEEP_PERIOD": "1s", "PAGE_SIZE": "1000", "KAFKA_BROKERS": "nowhere", "SCHEMA_REGISTRY_URL": "registry:8081",
	})
	if err == nil {
		t.Fatal("started")
	}
	for _, want := range []string{"REDIS_URL", "GITHUB_GRAPHQL_URL", "SWEEP_PERIOD", "PAGE_SIZE", "KAFKA_BROKERS", "SCHEMA_REGISTRY_URL", `invalid login "b=c"`, "belongs to both"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a password in: %v", err)
	}
}

func TestASecretShowsItselfToNobody(t *testing.T) {
	cfg := Config{GitHub: github.Config{Tokens: "ghp_x", Redis: "redis://:ghp_x@host"}}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("config", "cfg", cfg, "token", cfg.GitHub.Tokens)
	slog.New(slog.NewTextHandler(&log, nil)).Info("config", "cfg", cfg, "token", cfg.GitHub.Tokens)
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	all := log.String() + string(text) + fmt.Sprintf("%v %+v %#v %s %q %x", cfg, cfg, cfg, cfg.GitHub.Tokens, cfg.GitHub.Tokens, cfg.GitHub.Tokens)
	if strings.Contains(all, "ghp_x") || strings.Contains(all, fmt.Sprintf("%x", "ghp_x")) {
		t.Errorf("the secret in: %s", all)
	}
}
