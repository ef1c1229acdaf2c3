package check

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	serving "knative.dev/serving/pkg/apis/serving/v1"
)

// text returns the files that match a pattern, one after the other.
func text(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(root + "/" + pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(files), err)
	}
	var all strings.Builder
	for _, f := range files {
		part, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(part)
	}
	return all.String()
}

// named returns what the groups of each match say: the first is a name, the second a value.
func named(t *testing.T, in, expression string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, m := range regexp.MustCompile(expression).FindAllStringSubmatch(in, -1) {
		all[m[1]] = m[2]
	}
	if len(all) == 0 {
		t.Fatalf("nothing matches %s", expression)
	}
	return all
}

func TestTerraformHasTheVersionsOfKind(t *testing.T) {
	up := text(t, "infra/kind/up.sh")
	kind := named(t, up, `(?m)^(KNATIVE_\w+|STRIMZI)=(?:knative-v)?([0-9.]+)$`)
	kind["KUBERNETES"] = regexp.MustCompile(`kindest/node:v(\d+\.\d+)\.`).FindStringSubmatch(up)[1]
	each(built(t, "infra/kind"), func(_ string, k *kafkaCluster) { kind["KAFKA"] = k.Spec.Kafka.Version })

	platform := named(t, text(t, "infra/terraform/platform/*.tf"), `(?m)^ +(knative_serving|knative_eventing|knative_kafka|strimzi) += "([0-9.]+)"`)
	terraform := map[string]string{}
	for name, version := range platform {
		terraform[strings.ToUpper(name)] = version
	}
	terraform["KAFKA"] = regexp.MustCompile(`kind += "Kafka"(?s:.*?)version += "([0-9.]+)"`).FindStringSubmatch(text(t, "infra/terraform/platform/kafka.tf"))[1]
	terraform["KUBERNETES"] = regexp.MustCompile(`variable "kubernetes_version" (?s:.*?)default += "([0-9.]+)"`).FindStringSubmatch(text(t, "infra/terraform/aws/variables.tf"))[1]
	if !maps.Equal(kind, terraform) {
		t.Errorf("infra/kind has %v, infra/terraform %v", kind, terraform)
	}
}

// The keys of the Secret stand in docs/deploy.md; Terraform makes those, and the
// functions ask for no others.
func TestTerraformMakesTheSecretThatTheFunctionsReadAndTheDocumentLists(t *testing.T) {
	_, listed, _ := strings.Cut(text(t, "docs/deploy.md"), "The Secret `m7pulse` in the namespace")
	listed, _, _ = strings.Cut(listed, "`kubectl apply -k infra/deploy/production`")
	var document []string
	for line := range strings.Lines(listed) {
		if cell, _, ok := strings.Cut(strings.TrimPrefix(line, "|"), "|"); ok {
			for _, m := range regexp.MustCompile("`([A-Z0-9_]+)`").FindAllStringSubmatch(cell, -1) {
				document = append(document, m[1])
			}
		}
	}
	slices.Sort(document)

	_, data, _ := strings.Cut(text(t, "infra/terraform/platform/pulse.tf"), `resource "kubernetes_secret_v1" "m7pulse"`)
	_, data, _ = strings.Cut(data, "  data = {\n")
	data, _, _ = strings.Cut(data, "\n  }")
	terraform := slices.Sorted(maps.Keys(named(t, data, `(?m)^    ([A-Z0-9_]+) += (.*)`)))
	if len(document) == 0 || !slices.Equal(document, terraform) {
		t.Errorf("docs/deploy.md lists %v, infra/terraform makes %v", document, terraform)
	}

	read := map[string]bool{}
	note := func(s *corev1.SecretKeySelector) {
		if s != nil && s.Name == "m7pulse" {
			read[s.Key] = true
		}
	}
	all := built(t, "infra/deploy/production")
	each(all, func(_ string, s *serving.Service) {
		for _, e := range s.Spec.Template.Spec.Containers[0].Env {
			if e.ValueFrom != nil {
				note(e.ValueFrom.SecretKeyRef)
			}
		}
	})
	each(all, func(_ string, s *kafkaSource) {
		note(s.Spec.Net.SASL.Type.SecretKeyRef)
		note(s.Spec.Net.SASL.User.SecretKeyRef)
		note(s.Spec.Net.SASL.Password.SecretKeyRef)
	})
	for key := range read {
		if !slices.Contains(terraform, key) {
			t.Errorf("the functions read %s, which infra/terraform does not put into the Secret", key)
		}
	}
	if len(read) < 10 {
		t.Errorf("the functions read %d keys of the Secret", len(read))
	}
}

// What Terraform sets in the ConfigMap m7pulse is there, under this name.
func TestTerraformSetsWhatTheConfigMapHas(t *testing.T) {
	_, config, _ := strings.Cut(text(t, "infra/terraform/platform/pulse.tf"), "  config = merge({\n")
	config, _, _ = strings.Cut(config, "\n\n")
	n := each(built(t, "infra/deploy/production"), func(name string, c *corev1.ConfigMap) {
		for key := range named(t, config, `([A-Z][A-Z0-9_]+) += (.)`) {
			if _, ok := c.Data[key]; !ok {
				t.Errorf("the ConfigMap %s has no %s", name, key)
			}
		}
	})
	if n != 1 {
		t.Errorf("%d ConfigMaps", n)
	}
}

// Terraform names functions, and parts of infra/knative that it leaves out.
func TestTerraformNamesWhatThereIs(t *testing.T) {
	pulse := text(t, "infra/terraform/platform/pulse.tf")
	names := map[string]bool{}
	for _, d := range built(t, "infra/deploy/production") {
		names[d.Metadata.Name] = true
	}
	list := func(name string) (all []string) {
		_, rest, _ := strings.Cut(pulse, name)
		rest, _, _ = strings.Cut(rest, "\n")
		for _, m := range regexp.MustCompile(`"([a-z-]+)"`).FindAllStringSubmatch(rest, -1) {
			all = append(all, m[1])
		}
		if len(all) == 0 {
			t.Fatalf("pulse.tf has no %s", name)
		}
		return all
	}
	for _, of := range []string{"contains([", "with_redis = ", "with_kafka = ", `"warehouse", functions = `} {
		for _, name := range list(of) {
			if !names[name] {
				t.Errorf("production has no %s", name)
			}
		}
	}
	// Whoever may reach Redis or Kafka as a pod may reach it in AWS.
	redis := list("with_redis = ")
	kafka := append(list("with_kafka = "), redis...)
	for policy := range strings.SplitSeq(text(t, "infra/deploy/access/egress.yaml"), "\n---\n") {
		name := regexp.MustCompile(`(?m)^  name: (.+)$`).FindStringSubmatch(policy)[1]
		if got, want := slices.Contains(redis, name), strings.Contains(policy, "name: redis\n"); got != want {
			t.Errorf("%s may reach Redis in AWS: %v, as a pod: %v", name, got, want)
		}
		if got, want := slices.Contains(kafka, name), strings.Contains(policy, "strimzi.io/cluster: m7pulse\n"); got != want {
			t.Errorf("%s may reach Kafka in AWS: %v, as a pod: %v", name, got, want)
		}
	}
}

// The document's costs are those of the examples.
func TestCapacityNamesTheMachinesOfTheExamples(t *testing.T) {
	capacity := text(t, "docs/capacity.md")
	for _, size := range []string{"small", "medium", "large"} {
		for _, m := range regexp.MustCompile(`(?m)^(nodes|redis|msk)\s.*type = "([^"]+)"(?:, (?:min|nodes|brokers) = (\d+))?`).FindAllStringSubmatch(text(t, "infra/terraform/examples/"+size+"/aws.tfvars"), -1) {
			machine := m[2]
			if m[3] != "1" {
				machine = m[3] + " × " + machine
			}
			if !strings.Contains(capacity, machine+":") && !strings.Contains(capacity, machine+",") {
				t.Errorf("%s: %s %s is not in docs/capacity.md", size, m[1], machine)
			}
		}
	}
}
