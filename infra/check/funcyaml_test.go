package check

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	_ "knative.dev/func/pkg/scaffolding" // pins the version of func, whose module has the schema
	serving "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/yaml"
)

// funcSchema is func's published schema of func.yaml.
func funcSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "knative.dev/func").Output()
	if err != nil {
		t.Fatalf("where func is: %v", err)
	}
	s, err := jsonschema.NewCompiler().Compile(filepath.Join(strings.TrimSpace(string(dir)), "schema/func_yaml-schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func functionFiles(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(root + "/functions/*/func.yaml")
	if err != nil || len(paths) != 7 {
		t.Fatalf("%v, %v: want the func.yaml of seven functions", paths, err)
	}
	return append(paths, root+"/func.yaml")
}

func TestFuncTakesEachFuncYAML(t *testing.T) {
	schema := funcSchema(t)
	check := func(text []byte) error {
		asJSON, err := yaml.YAMLToJSONStrict(text)
		if err != nil {
			return err
		}
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(asJSON)))
		if err != nil {
			return err
		}
		return schema.Validate(v)
	}
	for _, path := range functionFiles(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := check(text); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		// The schema is looked at, and is strict.
		for old, new := range map[string]string{"runtime: go": "runtimes: go", "min: 0": "min: -1", "created:": "creates:", "liveness:": "livelyness:"} {
			if err := check([]byte(strings.Replace(string(text), old, new, 1))); err == nil {
				t.Errorf("%s with %q for %q is taken", path, new, old)
			}
		}
	}
}

// funcYAML is what a func.yaml and a Service have in common.
type funcYAML struct {
	Name string `json:"name"`
	Run  struct {
		Envs []struct{ Name, Value string } `json:"envs"`
	} `json:"run"`
	Deploy struct {
		ServiceAccountName string                        `json:"serviceAccountName"`
		Labels             []struct{ Key, Value string } `json:"labels"`
		HealthEndpoints    struct{ Liveness, Readiness string }
		Options            struct {
			Scale struct {
				Min, Max int
				Metric   string
				Target   float64
			} `json:"scale"`
			Resources struct {
				Requests, Limits struct{ CPU, Memory string }
			} `json:"resources"`
		} `json:"options"`
	} `json:"deploy"`
}

// account lists what a deployed function is, in one line for each fact.
type account map[string]string

func (f funcYAML) account() account {
	o := f.Deploy.Options
	a := account{
		"account": f.Deploy.ServiceAccountName, "liveness": f.Deploy.HealthEndpoints.Liveness, "readiness": f.Deploy.HealthEndpoints.Readiness,
		"min": fmt.Sprint(o.Scale.Min), "max": fmt.Sprint(o.Scale.Max), "metric": o.Scale.Metric, "target": fmt.Sprint(o.Scale.Target),
		"requests": o.Resources.Requests.CPU + " " + o.Resources.Requests.Memory, "limits": o.Resources.Limits.CPU + " " + o.Resources.Limits.Memory,
	}
	for _, l := range f.Deploy.Labels {
		a["label "+l.Key] = l.Value
	}
	for _, e := range f.Run.Envs {
		a["env "+e.Name] = e.Value
	}
	return a
}

func serviceAccount(s *serving.Service) account {
	pod := s.Spec.Template.Spec
	c := pod.Containers[0]
	scale := func(key string) string { return s.Spec.Template.Annotations["autoscaling.knative.dev/"+key] }
	a := account{
		"account": pod.ServiceAccountName, "liveness": c.LivenessProbe.HTTPGet.Path, "readiness": c.ReadinessProbe.HTTPGet.Path,
		"min": scale("min-scale"), "max": scale("max-scale"), "metric": scale("metric"), "target": scale("target"),
		"requests": c.Resources.Requests.Cpu().String() + " " + c.Resources.Requests.Memory().String(),
		"limits":   c.Resources.Limits.Cpu().String() + " " + c.Resources.Limits.Memory().String(),
	}
	for k, v := range s.Labels {
		a["label "+k] = v
	}
	for _, e := range c.Env {
		switch from := e.ValueFrom; {
		case from == nil:
			a["env "+e.Name] = e.Value
		case from.SecretKeyRef != nil:
			a["env "+e.Name] = fmt.Sprintf("{{ secret:%s:%s }}", from.SecretKeyRef.Name, from.SecretKeyRef.Key)
		case from.ConfigMapKeyRef != nil:
			a["env "+e.Name] = fmt.Sprintf("{{ configMap:%s:%s }}", from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Key)
		}
	}
	return a
}

func TestServicesAreWhatFuncWouldDeploy(t *testing.T) {
	services := map[string]account{}
	for _, dir := range []string{"infra/deploy/services", "infra/deploy/all-in-one"} {
		each(built(t, dir), func(name string, s *serving.Service) { services[name] = serviceAccount(s) })
	}
	for _, path := range functionFiles(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var f funcYAML
		if err := yaml.Unmarshal(text, &f); err != nil {
			t.Fatal(err)
		}
		want, got := f.account(), services[f.Name]
		for k := range want {
			if got[k] != want[k] {
				t.Errorf("Service %s: %s is %q, want %q as in %s", f.Name, k, got[k], want[k], path)
			}
		}
		for k := range got {
			if _, ok := want[k]; !ok {
				t.Errorf("Service %s: %s is not in %s", f.Name, k, path)
			}
		}
	}
}

// No func.yaml and no manifest has a secret in it.
func TestNoSecretIsWrittenDown(t *testing.T) {
	inline := regexp.MustCompile(`(?i)(ghp_|github_pat_|-----BEGIN|://[^/\s:{]+:[^@\s{$]+@)`)
	files, err := exec.Command("git", "-C", root, "ls-files", "func.yaml", "functions/*.yaml", "infra/*.yaml").Output()
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Fields(string(files))
	if len(names) < 10 {
		t.Fatalf("%d files", len(names))
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if found := inline.Find(text); found != nil {
			t.Errorf("%s holds %q", name, found)
		}
		if strings.Contains(string(text), "kind: Secret\n") && !strings.Contains(name, "infra/kind/") {
			t.Errorf("%s makes a Secret: that is the operator's", name)
		}
	}
}
