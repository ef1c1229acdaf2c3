package check

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	serving "knative.dev/serving/pkg/apis/serving/v1"
)

// kafkaCluster is kafka.strimzi.io/v1beta2 Kafka, as far as we use its CRD.
type kafkaCluster struct {
	object
	Spec struct {
		Kafka struct {
			Version   string `json:"version"`
			Listeners []struct {
				Name string `json:"name"`
				Port int32  `json:"port"`
				Type string `json:"type"`
				TLS  bool   `json:"tls"`
			} `json:"listeners"`
			Config map[string]any `json:"config"`
		} `json:"kafka"`
		EntityOperator struct {
			TopicOperator *struct{} `json:"topicOperator"`
		} `json:"entityOperator"`
	} `json:"spec"`
}

// kafkaNodePool is kafka.strimzi.io/v1beta2 KafkaNodePool, as far as we use its CRD.
type kafkaNodePool struct {
	object
	Spec struct {
		Replicas int      `json:"replicas"`
		Roles    []string `json:"roles"`
		Storage  struct {
			Type    string `json:"type"`
			Volumes []struct {
				ID            int    `json:"id"`
				Type          string `json:"type"`
				Size          string `json:"size"`
				DeleteClaim   bool   `json:"deleteClaim"`
				KRaftMetadata string `json:"kraftMetadata"`
			} `json:"volumes"`
		} `json:"storage"`
		Resources corev1.ResourceRequirements `json:"resources"`
	} `json:"spec"`
}

// server is a pod of infra/kind: by its labels, the ports it listens on.
type server struct {
	name   string
	labels map[string]string
	ports  []int32
	spec   *corev1.PodSpec
}

func kindServers(t *testing.T) (servers []server, services map[string]*corev1.Service) {
	t.Helper()
	all := built(t, "infra/kind")
	services = map[string]*corev1.Service{}
	pod := func(name string, selector map[string]string, p *corev1.PodTemplateSpec) {
		for k, v := range selector {
			if p.Labels[k] != v {
				t.Errorf("%s does not select its own pods", name)
			}
		}
		s := server{name: name, labels: p.Labels, spec: &p.Spec}
		for _, c := range p.Spec.Containers {
			for _, port := range c.Ports {
				s.ports = append(s.ports, port.ContainerPort)
			}
		}
		servers = append(servers, s)
	}
	each(all, func(name string, d *appsv1.Deployment) { pod(name, d.Spec.Selector.MatchLabels, &d.Spec.Template) })
	each(all, func(name string, d *appsv1.StatefulSet) {
		pod(name, d.Spec.Selector.MatchLabels, &d.Spec.Template)
		if d.Spec.ServiceName != name || len(d.Spec.VolumeClaimTemplates) != 1 {
			t.Errorf("StatefulSet %s has no service or no volume", name)
		}
	})
	each(all, func(name string, s *corev1.Service) { services[name] = s })
	each(all, func(name string, k *kafkaCluster) { // Strimzi makes the pods and the service
		s := server{name: name, labels: map[string]string{"strimzi.io/cluster": name}}
		boot := &corev1.Service{Spec: corev1.ServiceSpec{Selector: s.labels}}
		for _, l := range k.Spec.Kafka.Listeners {
			s.ports = append(s.ports, l.Port)
			boot.Spec.Ports = append(boot.Spec.Ports, corev1.ServicePort{Port: l.Port})
		}
		servers = append(servers, s)
		services[name+"-kafka-bootstrap"] = boot
		each(all, func(pool string, p *kafkaNodePool) {
			if p.Metadata.Labels["strimzi.io/cluster"] != name || len(p.Spec.Storage.Volumes) == 0 {
				t.Errorf("KafkaNodePool %s belongs to no cluster", pool)
			}
		})
		if k.Spec.EntityOperator.TopicOperator == nil {
			t.Errorf("nobody makes the topics of Kafka %s", name)
		}
	})
	if len(servers) != 9 {
		t.Fatalf("%d servers", len(servers))
	}
	return servers, services
}

func TestKindHasEachServerThatFunctionsSpeakTo(t *testing.T) {
	servers, services := kindServers(t)
	matches := func(want, labels map[string]string) bool {
		for k, v := range want {
			if labels[k] != v {
				return false
			}
		}
		return true
	}
	// Whom a policy lets a function speak to is there, and listens on that port.
	n := each(built(t, "infra/deploy/dev"), func(name string, p *networkingv1.NetworkPolicy) {
		for _, r := range p.Spec.Egress {
			for _, to := range r.To {
				if to.PodSelector == nil || to.NamespaceSelector != nil {
					continue
				}
				for _, port := range r.Ports {
					number := port.Port.IntVal
					if number == 9093 { // Kafka's door with TLS, which only production has
						continue
					}
					if !slices.ContainsFunc(servers, func(s server) bool {
						return matches(to.PodSelector.MatchLabels, s.labels) && slices.Contains(s.ports, number)
					}) {
						t.Errorf("NetworkPolicy %s: nobody with %v listens on %d", name, to.PodSelector.MatchLabels, number)
					}
				}
			}
		}
	})
	if n == 0 {
		t.Error("no NetworkPolicy")
	}
	// An address, of the ConfigMap or of the Secret that up.sh makes, is a service.
	script, err := os.ReadFile(root + "/infra/kind/up.sh")
	if err != nil {
		t.Fatal(err)
	}
	text := string(script)
	each(built(t, "infra/deploy/dev"), func(_ string, c *corev1.ConfigMap) { text += fmt.Sprintln(c.Data) })
	found := regexp.MustCompile(`([a-z0-9-]+)\.m7pulse\.svc\.cluster\.local:(\d+)`).FindAllStringSubmatch(text, -1)
	if len(found) < 5 {
		t.Errorf("addresses %v", found)
	}
	for _, at := range found {
		s := services[at[1]]
		if s == nil || !slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return fmt.Sprint(p.Port) == at[2] }) {
			t.Errorf("%s:%s is no service", at[1], at[2])
		}
	}
	for name, s := range services {
		if !slices.ContainsFunc(servers, func(v server) bool {
			return matches(s.Spec.Selector, v.labels) && slices.Contains(v.ports, s.Spec.Ports[0].Port)
		}) {
			t.Errorf("Service %s leads nowhere", name)
		}
	}
	// up.sh waits for each of them.
	for _, s := range servers {
		if !strings.Contains(string(script), "/"+s.name) {
			t.Errorf("up.sh does not wait for %s", s.name)
		}
	}
}

func TestKindMakesEachSecretThatIsAskedFor(t *testing.T) {
	script, err := os.ReadFile(root + "/infra/kind/up.sh")
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]bool{}
	for _, m := range regexp.MustCompile(`"([A-Z0-9_]+)=`).FindAllSubmatch(script, -1) {
		made[string(m[1])] = true
	}
	ask := func(who string, p *corev1.PodSpec) {
		for _, c := range p.Containers {
			if _, tag, ok := strings.Cut(c.Image, ":"); !ok || tag == "latest" {
				t.Errorf("%s: image %q is not pinned", who, c.Image)
			}
			for _, e := range c.Env {
				switch {
				case e.ValueFrom == nil && secretName(e.Name):
					t.Errorf("%s: %s is written down", who, e.Name)
				case e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil && !made[e.ValueFrom.SecretKeyRef.Key]:
					t.Errorf("%s wants the secret %s, which up.sh does not make", who, e.ValueFrom.SecretKeyRef.Key)
				}
			}
		}
	}
	servers, _ := kindServers(t)
	for _, s := range servers {
		if s.spec == nil {
			continue
		}
		ask(s.name, s.spec)
		if s.spec.Containers[0].ReadinessProbe == nil {
			t.Errorf("%s does not say when it is ready", s.name)
		}
	}
	each(built(t, "infra/deploy/dev"), func(name string, s *serving.Service) { ask(name, &s.Spec.Template.Spec.PodSpec) })
	text, err := os.ReadFile(root + "/infra/kind/recording.yaml")
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	if each(jobs, func(name string, j *batchv1.Job) { ask(name, &j.Spec.Template.Spec) }) != 1 {
		t.Error("the recording is no job")
	}
}

// Compose and kind run the same versions.
func TestComposeAndKindRunTheSameImages(t *testing.T) {
	text, err := os.ReadFile(root + "/infra/compose/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	servers, _ := kindServers(t)
	for _, s := range servers {
		if s.spec != nil && !strings.Contains(string(text), "image: "+s.spec.Containers[0].Image+"\n") {
			t.Errorf("%s: %s is not in compose.yaml", s.name, s.spec.Containers[0].Image)
		}
	}
}

// Superset reads Trino as a user whom Trino's rules let read and no more.
func TestSupersetMayOnlyReadInTrino(t *testing.T) {
	var rules struct {
		Catalogs []struct{ User, Allow string }
	}
	text, err := os.ReadFile(root + "/infra/trino/rules.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	const user = "reader"
	if len(rules.Catalogs) == 0 || rules.Catalogs[0].User != user || rules.Catalogs[0].Allow != "read-only" {
		t.Errorf("the first rule is %+v", rules.Catalogs)
	}
	_, services := kindServers(t)
	if services["trino"] == nil || services["trino"].Spec.Ports[0].Port != 8080 {
		t.Error("Trino is not at trino:8080")
	}
	for _, file := range []string{"infra/compose/compose.yaml", "infra/kind/readers.yaml"} {
		text, err := os.ReadFile(root + "/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "trino://"+user+"@trino:8080/iceberg/pulse") {
			t.Errorf("%s: Superset does not read Trino as %s", file, user)
		}
		for _, mounted := range []string{"/etc/trino/access-control.properties", "/etc/trino/rules.json"} {
			if !strings.Contains(string(text), mounted) {
				t.Errorf("%s: Trino has no %s", file, mounted)
			}
		}
	}
}
