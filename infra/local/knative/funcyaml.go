package knative

import (
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"time"

	"sigs.k8s.io/yaml"
)

// funcYAML is the part of func's schema that our functions use.
type funcYAML struct {
	SpecVersion string    `json:"specVersion"`
	Name        string    `json:"name"`
	Runtime     string    `json:"runtime"`
	Created     time.Time `json:"created"`
	Invoke      string    `json:"invoke"`
	Namespace   string    `json:"namespace"`
	Build       struct {
		BuildEnvs []nameValue `json:"buildEnvs"`
	} `json:"build"`
	Run struct {
		Envs []nameValue `json:"envs"`
	} `json:"run"`
	Deploy struct {
		Namespace          string `json:"namespace"`
		ServiceAccountName string `json:"serviceAccountName"`
		Labels             []struct {
			Key   string `json:"key"`
			Value string `json:"value"`
		} `json:"labels"`
		Options struct {
			Scale struct {
				Min         int     `json:"min"`
				Max         int     `json:"max"`
				Metric      string  `json:"metric"`
				Target      float64 `json:"target"`
				Utilization float64 `json:"utilization"`
			} `json:"scale"`
			Resources struct {
				Requests resources `json:"requests"`
				Limits   resources `json:"limits"`
			} `json:"resources"`
		} `json:"options"`
		HealthEndpoints struct {
			Liveness  string `json:"liveness"`
			Readiness string `json:"readiness"`
		} `json:"healthEndpoints"`
	} `json:"deploy"`
}

type nameValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type resources struct {
	CPU         string `json:"cpu"`
	Memory      string `json:"memory"`
	Concurrency int    `json:"concurrency"`
}

func readFunctions(root string, found *faults) []kept[funcYAML] {
	paths, err := filepath.Glob(filepath.Join(root, functionDir, "*", "func.yaml"))
	if err != nil || len(paths) == 0 {
		found.add(functionDir, "", "no function has a func.yaml")
	}
	sort.Strings(paths)
	var out []kept[funcYAML]
	for _, path := range paths {
		folder := filepath.Base(filepath.Dir(path))
		k := kept[funcYAML]{file: filepath.Join(functionDir, folder, "func.yaml")}
		text, err := os.ReadFile(path)
		if err == nil {
			err = yaml.UnmarshalStrict(text, &k.doc)
		}
		if err != nil {
			found.add(k.file, "", "%v", err)
			// Its name still counts, so that one fault does not make more.
			k.doc = funcYAML{Name: folder, SpecVersion: specVersion, Runtime: "go", Invoke: "http", Created: time.Unix(0, 0)}
			k.doc.Deploy.Options.Scale.Max = 1
		}
		if k.doc.Name != folder {
			found.add(k.file, "name", "is %q, want that of its folder", k.doc.Name)
		}
		out = append(out, k)
	}
	return out
}

// specVersion is the one of func that is in use.
const specVersion = "0.36.0"

// The forms in which func takes a variable's value from elsewhere.
var (
	fromConfigMap = regexp.MustCompile(`^\{\{ configMap:([-a-z0-9.]+):([A-Za-z0-9_.-]+) \}\}$`)
	fromSecret    = regexp.MustCompile(`^\{\{ secret:([-a-z0-9.]+):([A-Za-z0-9_.-]+) \}\}$`)
	template      = regexp.MustCompile(`\{\{|\}\}`)
	envName       = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

func checkFunctions(functions []kept[funcYAML], config map[string]string, found *faults) []Function {
	var out []Function
	for _, k := range functions {
		f := k.doc
		if f.SpecVersion != specVersion {
			found.add(k.file, "specVersion", "is %q, want %s", f.SpecVersion, specVersion)
		}
		if f.Runtime != "go" {
			found.add(k.file, "runtime", "is %q, want go", f.Runtime)
		}
		if f.Invoke != "http" {
			found.add(k.file, "invoke", "is %q, want http: the other forms lose requests under load", f.Invoke)
		}
		if f.Created.IsZero() {
			found.add(k.file, "created", "is missing: func takes the function for not initialised")
		}
		scale := f.Deploy.Options.Scale
		if scale.Min < 0 || scale.Min > 1 || scale.Max < 1 {
			found.add(k.file, "deploy.options.scale", "is %d to %d, want 0 or 1 to at least 1; 0 for max means without limit", scale.Min, scale.Max)
		}
		out = append(out, Function{Name: f.Name, MinScale: scale.Min, Env: checkEnv(k, config, found)})
	}
	return out
}

func checkEnv(k kept[funcYAML], config map[string]string, found *faults) []EnvVar {
	var out []EnvVar
	names := map[string]bool{}
	for _, e := range k.doc.Run.Envs {
		place := "run.envs " + e.Name
		if !envName.MatchString(e.Name) {
			found.add(k.file, place, "invalid variable name %q", e.Name)
		}
		if names[e.Name] {
			found.add(k.file, place, "is there twice")
		}
		names[e.Name] = true
		v := EnvVar{Name: e.Name}
		if m := fromConfigMap.FindStringSubmatch(e.Value); m != nil {
			v.Config = m[2]
			if _, ok := config[v.Config]; !ok || m[1] != configName {
				found.add(k.file, place, "no key %s in a ConfigMap %s", m[2], m[1])
			}
		} else if m := fromSecret.FindStringSubmatch(e.Value); m != nil {
			v.Secret = m[2]
		} else if template.MatchString(e.Value) {
			found.add(k.file, place, "%q is none of: plain text, '{{ configMap:%s:KEY }}', '{{ secret:NAME:KEY }}'", e.Value, configName)
		} else {
			v.Value = e.Value
		}
		out = append(out, v)
	}
	return out
}
