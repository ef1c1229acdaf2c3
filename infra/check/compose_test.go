package check

import (
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// compose reads the file as `docker compose config` does, by Compose's own
// reader: against its schema, with every variable that it wants.
func compose(t *testing.T, text []byte, env map[string]string) (*types.Project, error) {
	t.Helper()
	dir, err := filepath.Abs(root + "/infra/compose")
	if err != nil {
		t.Fatal(err)
	}
	return loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir: dir, Environment: env, ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(dir, "compose.yaml"), Content: text}},
	}, func(o *loader.Options) { o.SetProjectName("m7pulse", true) })
}

// madeBy are the variables that up.sh puts into .env.
func madeBy(t *testing.T) map[string]string {
	t.Helper()
	script, err := os.ReadFile(root + "/infra/compose/up.sh")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`for name in ([A-Z0-9_ ]+);`).FindSubmatch(script)
	if names == nil {
		t.Fatal("up.sh makes no passwords")
	}
	env := map[string]string{}
	for name := range strings.FieldsSeq(string(names[1])) {
		env[name] = "made-" + strings.ToLower(name)
	}
	return env
}

func TestComposeTakesTheFile(t *testing.T) {
	text, err := os.ReadFile(root + "/infra/compose/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	env := madeBy(t)
	project, err := compose(t, text, maps.Clone(env)) // the reader adds to it
	if err != nil {
		t.Fatal(err)
	}
	for name := range env {
		if !strings.Contains(string(text), "${"+name) {
			t.Errorf("up.sh makes %s, which nothing uses", name)
		}
	}
	for name, s := range project.Services {
		if s.HealthCheck == nil || len(s.HealthCheck.Test) == 0 {
			t.Errorf("%s has no health check", name)
		}
		if _, tag, ok := strings.Cut(s.Image, ":"); !ok || tag == "latest" {
			t.Errorf("%s: image %q is not pinned", name, s.Image)
		}
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open to the network", name, p.Published)
			}
		}
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			if _, err := os.Stat(v.Source); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if b := s.Build; b != nil {
			if _, err := os.Stat(filepath.Join(b.Context, b.Dockerfile)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, word := range append(append([]string{}, s.Command...), s.Entrypoint...) {
			for variable, value := range env {
				if strings.Contains(word, value) {
					t.Errorf("%s: %s is on its command line", name, variable)
				}
			}
		}
		for other := range s.DependsOn {
			if project.Services[other].HealthCheck == nil {
				t.Errorf("%s waits for %s, which does not say when it is well", name, other)
			}
		}
	}
	// The reader is strict: what it does not know, and what is not there, it says.
	for old, new := range map[string]string{"healthcheck:": "healthcheque:", "service_healthy": "service_happy", `"redis:/data"`: `"reddis:/data"`, "127.0.0.1:8088:8088": "127.0.0.1:eighty:8088"} {
		if _, err := compose(t, []byte(strings.Replace(string(text), old, new, 1)), env); err == nil {
			t.Errorf("%q for %q is taken", new, old)
		}
	}
	delete(env, "REDIS_PASSWORD")
	if _, err := compose(t, text, env); err == nil || !strings.Contains(err.Error(), "REDIS_PASSWORD") {
		t.Errorf("without a password: %v", err)
	}
}

// What the runner's image copies is all that the runner reads.
// A server that infra/servers runs in tests is of the same version in compose, and so in
// kind: TestComposeAndKindRunTheSameImages. Kafka in kind is what Strimzi has.
func TestComposeRunsTheVersionsThatAreTested(t *testing.T) {
	text, err := os.ReadFile(root + "/infra/compose/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(root + "/infra/servers/servers.sh")
	if err != nil {
		t.Fatal(err)
	}
	for name, image := range map[string]string{"KAFKA": "apache/kafka", "REGISTRY": "apicurio/apicurio-registry", "NESSIE": "ghcr.io/projectnessie/nessie", "TRINO": "trinodb/trino"} {
		tested := regexp.MustCompile(`(?m)\b` + name + `=([0-9.]+) ` + name + `_SUM=`).FindSubmatch(script)
		if tested == nil {
			t.Fatalf("servers.sh pins no %s", name)
		}
		if want := "image: " + image + ":" + string(tested[1]) + "\n"; !strings.Contains(string(text), want) {
			t.Errorf("compose.yaml has no %q", want)
		}
	}
}

func TestDockerfileCopiesWhatIsThere(t *testing.T) {
	text, err := os.ReadFile(root + "/infra/compose/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"infra/knative", "owners.yaml", "data/m7-2025.jsonl.gz", "functions/"} {
		if _, err := os.Stat(filepath.Join(root, path)); err != nil || !strings.Contains(string(text), path) {
			t.Errorf("%s is not copied, or not there: %v", path, err)
		}
	}
}

// The scripts for people with Docker are at least free of what shellcheck finds.
func TestScriptsPassShellcheck(t *testing.T) {
	program, err := exec.LookPath("shellcheck")
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("SHELLCHECK IS NOT ON PATH: the scripts of infra/compose and infra/kind were NOT checked")
	}
	scripts, err := filepath.Glob(root + "/infra/*/*.sh")
	if err != nil || len(scripts) < 3 {
		t.Fatalf("%v, %v", scripts, err)
	}
	if out, err := exec.Command(program, scripts...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
