package check

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	k8syaml "k8s.io/apimachinery/pkg/util/yaml"
	eventingduck "knative.dev/eventing/pkg/apis/duck/v1"
	eventing "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/apis/feature"
	sources "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/pkg/apis"
	duck "knative.dev/pkg/apis/duck/v1"
	serving "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const root = "../.."

// overlays are what is applied to a cluster.
var overlays = []string{"infra/deploy/dev", "infra/deploy/production", "infra/deploy/all-in-one"}

// kinds are all that we deploy, with the type that the API server decodes into.
// The types of Strimzi and of KafkaSource are not Go modules that can be had:
// the fields that we use are written down below.
var kinds = map[schema.GroupVersionKind]func() any{
	{Version: "v1", Kind: "Namespace"}:                                     func() any { return new(corev1.Namespace) },
	{Version: "v1", Kind: "ConfigMap"}:                                     func() any { return new(corev1.ConfigMap) },
	{Version: "v1", Kind: "ServiceAccount"}:                                func() any { return new(corev1.ServiceAccount) },
	{Version: "v1", Kind: "Service"}:                                       func() any { return new(corev1.Service) },
	{Group: "apps", Version: "v1", Kind: "Deployment"}:                     func() any { return new(appsv1.Deployment) },
	{Group: "apps", Version: "v1", Kind: "StatefulSet"}:                    func() any { return new(appsv1.StatefulSet) },
	{Group: "batch", Version: "v1", Kind: "Job"}:                           func() any { return new(batchv1.Job) },
	{Group: "batch", Version: "v1", Kind: "CronJob"}:                       func() any { return new(batchv1.CronJob) },
	{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"}:     func() any { return new(networkingv1.NetworkPolicy) },
	{Group: "serving.knative.dev", Version: "v1", Kind: "Service"}:         func() any { return new(serving.Service) },
	{Group: "sources.knative.dev", Version: "v1", Kind: "PingSource"}:      func() any { return new(sources.PingSource) },
	{Group: "sources.knative.dev", Version: "v1", Kind: "KafkaSource"}:     func() any { return new(kafkaSource) },
	{Group: "eventing.knative.dev", Version: "v1", Kind: "Broker"}:         func() any { return new(eventing.Broker) },
	{Group: "eventing.knative.dev", Version: "v1", Kind: "Trigger"}:        func() any { return new(eventing.Trigger) },
	{Group: "kafka.strimzi.io", Version: "v1beta2", Kind: "KafkaTopic"}:    func() any { return new(kafkaTopic) },
	{Group: "kafka.strimzi.io", Version: "v1beta2", Kind: "Kafka"}:         func() any { return new(kafkaCluster) },
	{Group: "kafka.strimzi.io", Version: "v1beta2", Kind: "KafkaNodePool"}: func() any { return new(kafkaNodePool) },
}

// kafkaSource is sources.knative.dev/v1 KafkaSource, as its CRD has it.
type kafkaSource struct {
	object
	Spec struct {
		duck.SourceSpec
		BootstrapServers []string                  `json:"bootstrapServers"`
		Topics           []string                  `json:"topics"`
		ConsumerGroup    string                    `json:"consumerGroup"`
		Consumers        int                       `json:"consumers"`
		InitialOffset    string                    `json:"initialOffset"`
		Ordering         string                    `json:"ordering"`
		Delivery         eventingduck.DeliverySpec `json:"delivery"`
		Net              struct {
			TLS struct {
				Enable bool `json:"enable"`
				CACert key  `json:"caCert"`
			} `json:"tls"`
			SASL struct {
				Enable   bool `json:"enable"`
				Type     key  `json:"type"`
				User     key  `json:"user"`
				Password key  `json:"password"`
			} `json:"sasl"`
		} `json:"net"`
	} `json:"spec"`
}

type key struct {
	SecretKeyRef *corev1.SecretKeySelector `json:"secretKeyRef"`
}

// kafkaTopic is kafka.strimzi.io/v1beta2 KafkaTopic, as its CRD has it.
type kafkaTopic struct {
	object
	Spec struct {
		TopicName  string         `json:"topicName"`
		Partitions int            `json:"partitions"`
		Replicas   int            `json:"replicas"`
		Config     map[string]any `json:"config"`
	} `json:"spec"`
}

type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace"`
		Labels    map[string]string `json:"labels"`
	} `json:"metadata"`
}

// Validate says all that a cluster would refuse, or take and do wrong with.
func (k *kafkaSource) Validate(ctx context.Context) (errs *apis.FieldError) {
	s := k.Spec
	if len(s.Topics) == 0 {
		errs = errs.Also(apis.ErrMissingField("topics"))
	}
	if len(s.BootstrapServers) == 0 {
		errs = errs.Also(apis.ErrMissingField("bootstrapServers"))
	}
	if s.ConsumerGroup == "" {
		errs = errs.Also(apis.ErrMissingField("consumerGroup"))
	}
	if s.InitialOffset != "latest" {
		errs = errs.Also(apis.ErrInvalidValue(s.InitialOffset, "initialOffset", "a source that is made anew would ring for all that the topic has kept"))
	}
	if slices.Contains(s.Topics, "github.base_repos") || slices.Contains(s.Topics, "github.processed_repos") {
		errs = errs.Also(apis.ErrInvalidValue(s.Topics, "topics", "a topic of many records is rung for by its bells"))
	}
	if s.Ordering != "unordered" {
		errs = errs.Also(apis.ErrInvalidValue(s.Ordering, "ordering", "ordered delivers 250 records a second"))
	}
	if d := s.Delivery; d.Retry == nil || d.BackoffPolicy == nil || d.BackoffDelay == nil || d.Timeout == nil {
		errs = errs.Also(apis.ErrMissingField("delivery: what is left out has no default once a part is set"))
	} else if d.DeadLetterSink != nil {
		errs = errs.Also(apis.ErrDisallowedFields("delivery.deadLetterSink"))
	}
	if len(s.Topics) == 1 && (s.CloudEventOverrides == nil || s.CloudEventOverrides.Extensions["kafkatopic"] != s.Topics[0]) {
		errs = errs.Also(apis.ErrInvalidValue(s.CloudEventOverrides, "ceOverrides.extensions.kafkatopic"))
	}
	errs = errs.Also(s.Delivery.Validate(ctx).ViaField("delivery"))
	return errs.Also(s.Sink.Validate(ctx).ViaField("sink")).ViaField("spec")
}

// decoded is a document of an overlay.
type decoded struct {
	object
	value any
}

// build does what `kubectl apply -k` does, and decodes as strictly as
// `--validate=strict`.
func build(dir string) ([]decoded, error) {
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), root+"/"+dir)
	if err != nil {
		return nil, err
	}
	text, err := made.AsYaml()
	if err != nil {
		return nil, err
	}
	return decode(text)
}

func decode(text []byte) ([]decoded, error) {
	var all []decoded
	var faults []error
	docs := k8syaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return all, errors.Join(faults...)
		}
		if err != nil {
			return all, err
		}
		var d decoded
		if err := yaml.Unmarshal(doc, &d.object); err != nil {
			return all, err
		}
		if d.Kind == "" {
			continue
		}
		newKind := kinds[schema.FromAPIVersionAndKind(d.APIVersion, d.Kind)]
		if newKind == nil {
			faults = append(faults, fmt.Errorf("%s %s: no kind that is known here", d.APIVersion, d.Kind))
			continue
		}
		d.value = newKind()
		if err := yaml.UnmarshalStrict(doc, d.value); err != nil {
			faults = append(faults, fmt.Errorf("%s %s: %w", d.Kind, d.Metadata.Name, err))
		}
		all = append(all, d)
	}
}

// validate asks the type itself.
func validate(d decoded) error {
	flags, err := feature.NewFlagsConfigFromMap(nil) // as Eventing is installed
	if err != nil {
		return err
	}
	ctx := feature.ToContext(context.Background(), flags)
	if v, ok := d.value.(apis.Defaultable); ok {
		v.SetDefaults(ctx)
	}
	v, ok := d.value.(apis.Validatable)
	if !ok {
		return nil
	}
	if err := v.Validate(ctx).Filter(apis.ErrorLevel); err != nil {
		return fmt.Errorf("%s %s: %w", d.Kind, d.Metadata.Name, err)
	}
	return nil
}

func built(t *testing.T, dir string) []decoded {
	t.Helper()
	all, err := build(dir)
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	return all
}

func each[T any](all []decoded, f func(name string, v T)) (n int) {
	for _, d := range all {
		if v, ok := d.value.(T); ok {
			f(d.Metadata.Name, v)
			n++
		}
	}
	return n
}

func TestClusterTakesEachOverlay(t *testing.T) {
	for _, dir := range append([]string{"infra/deploy/drain", "infra/deploy/doctor", "infra/deploy/quality", "infra/cluster/product", "infra/cluster/drain"}, overlays...) {
		for _, d := range built(t, dir) {
			if err := validate(d); err != nil {
				t.Errorf("%s: %v", dir, err)
			}
		}
	}
}

func TestClusterTakesTheExampleOfASubscriber(t *testing.T) {
	text, err := os.ReadFile(root + "/infra/knative/examples/signals.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all, err := decode(text)
	if err != nil || len(all) != 3 {
		t.Fatalf("%d documents, %v", len(all), err)
	}
	for _, d := range all {
		if err := validate(d); err != nil {
			t.Error(err)
		}
	}
	kinds, err := os.ReadFile(root + "/docs/signals.md")
	if err != nil {
		t.Fatal(err)
	}
	each(all, func(name string, trigger *eventing.Trigger) {
		for attribute, value := range trigger.Spec.Filter.Attributes {
			known := attribute == "type" && value == "dev.m7pulse.signal.v1" || attribute == "kind" && bytes.Contains(kinds, []byte("\n| `"+value+"` |"))
			if !known {
				t.Errorf("trigger %s: no signal has %s %s", name, attribute, value)
			}
		}
	})
}

// Each fault is one that an API server would take without a word, or that a
// decoder which is not strict would.
func TestFaultsAreSeen(t *testing.T) {
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), root+"/infra/deploy/production")
	if err != nil {
		t.Fatal(err)
	}
	text, err := made.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	f := func(old, new, want string) {
		t.Helper()
		changed := bytes.Replace(text, []byte(old), []byte(new), 1)
		if bytes.Equal(changed, text) {
			t.Errorf("there is no %q", old)
			return
		}
		all, err := decode(changed)
		faults := []error{err}
		for _, d := range all {
			faults = append(faults, validate(d))
		}
		if err := errors.Join(faults...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q for %q: %v, want %q", new, old, err, want)
		}
	}
	f("schedule: 0 * * * *", "schedule: every tuesday", "spec.schedule")
	f("schedule: 0 * * * *", "scheduel: 0 * * * *", "scheduel")
	f("containerConcurrency: 0", "containerConcurrency: -1", "containerConcurrency")
	f("containerConcurrency: 0", "containerConcurency: 0", "containerConcurency")
	f("timeoutSeconds: 30", "timeoutSeconds: 9000", "timeoutSeconds")
	f(`autoscaling.knative.dev/target: "8"`, `autoscaling.knative.dev/target: "0"`, "autoscaling.knative.dev/target")
	f("autoscaling.knative.dev/metric: concurrency", "autoscaling.knative.dev/metric: feelings", "autoscaling.knative.dev/metric")
	f("initialOffset: latest", "initialOffset: earliest", "spec.initialOffset")
	f("- github.base_repos.bells\n", "- github.base_repos\n", "spec.topics")
	f("ordering: unordered", "ordering: ordered", "spec.ordering")
	f("    backoffDelay: PT0.3S\n", "    backoffDelay: 300ms\n", "backoffDelay")
	f("    retry: 10\n", "", "spec.delivery")
	f("kafkatopic: github.base_repos.bells", "kafkatopic: github.sweeps", "kafkatopic")
	f("podSelector:", "podSelektor:", "podSelektor")
}

func TestFunctionsAreReachedFromTheClusterOnlyAndRunWithoutRights(t *testing.T) {
	for _, dir := range overlays {
		all := built(t, dir)
		accounts := map[string]bool{}
		each(all, func(name string, a *corev1.ServiceAccount) {
			accounts[name] = a.AutomountServiceAccountToken != nil && !*a.AutomountServiceAccountToken
		})
		n := each(all, func(name string, s *serving.Service) {
			fault := func(format string, args ...any) {
				t.Helper()
				t.Errorf("%s: Service %s: %s", dir, name, fmt.Sprintf(format, args...))
			}
			if s.Labels["networking.knative.dev/visibility"] != "cluster-local" {
				fault("is reachable from outside")
			}
			pod := s.Spec.Template.Spec
			if pod.ServiceAccountName != name || !accounts[name] {
				fault("runs as %q, want an account of its own without a token", pod.ServiceAccountName)
			}
			c := pod.Containers[0]
			sc := c.SecurityContext
			if sc == nil || !*sc.RunAsNonRoot || *sc.AllowPrivilegeEscalation || !*sc.ReadOnlyRootFilesystem ||
				!slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) || sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
				fault("securityContext is not that of the restricted pod standard")
			}
			if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
				fault("has no bounds")
			}
			if _, tag, ok := strings.Cut(c.Image, ":"); !ok || tag == "latest" {
				fault("image %s is not pinned", c.Image)
			}
			for _, e := range c.Env {
				if secretName(e.Name) && (e.ValueFrom == nil || e.ValueFrom.SecretKeyRef == nil) {
					fault("%s is not from a Secret", e.Name)
				}
			}
		})
		if n == 0 {
			t.Errorf("%s: no functions", dir)
		}
		each(all, func(name string, c *corev1.ConfigMap) {
			for k, v := range c.Data {
				if secretName(k) || strings.Contains(v, "@") {
					t.Errorf("%s: ConfigMap %s holds %s: that may be a secret", dir, name, k)
				}
			}
		})
	}
}

// The kubelet probes a pod at the pod's address, and func-go listens there only
// if it is told to: of Knative it gets PORT alone.
func TestFunctionsListenWhereTheKubeletProbes(t *testing.T) {
	for _, dir := range overlays {
		each(built(t, dir), func(name string, s *serving.Service) {
			c := s.Spec.Template.Spec.Containers[0]
			want := fmt.Sprintf("[::]:%d", c.Ports[0].ContainerPort)
			if got := env(c, "LISTEN_ADDRESS"); got == nil || got.Value != want {
				t.Errorf("%s: Service %s: LISTEN_ADDRESS is %+v, want %s", dir, name, got, want)
			}
		})
	}
}

// A process that got no time on a crowded node to start or to answer is not a dead one:
// killing it costs the node more, and begins all it did again.
func TestProbesLeaveASlowFunctionAlone(t *testing.T) {
	for _, dir := range overlays {
		each(built(t, dir), func(name string, s *serving.Service) {
			p := s.Spec.Template.Spec.Containers[0].LivenessProbe
			period := max(p.PeriodSeconds, 10) // Kubernetes' default; a shorter one is too short
			if alone := p.FailureThreshold * period; alone < 60 || p.TimeoutSeconds < 5 {
				t.Errorf("%s: Service %s: it is killed after %d s, of answers longer than %d s; want 60 and 5 at least", dir, name, alone, p.TimeoutSeconds)
			}
		})
	}
}

// A Job of bulk mode is its function with another argument: the same settings, and as
// few rights.
func TestDrainJobsAreTheirFunctions(t *testing.T) {
	functions := map[string]corev1.PodSpec{}
	each(built(t, "infra/deploy/services"), func(name string, s *serving.Service) { functions[name] = s.Spec.Template.Spec.PodSpec })
	n := each(built(t, "infra/deploy/drain"), func(name string, j *batchv1.Job) {
		job := j.Spec.Template.Spec
		function, ok := functions[strings.TrimPrefix(name, "drain-")]
		if !ok {
			t.Errorf("Job %s: there is no such function", name)
			return
		}
		c, f := job.Containers[0], function.Containers[0]
		if !slices.Equal(c.Args, []string{"drain"}) || c.Image != f.Image || job.ServiceAccountName != function.ServiceAccountName ||
			*job.AutomountServiceAccountToken || !reflect.DeepEqual(c.SecurityContext, f.SecurityContext) {
			t.Errorf("Job %s is not its function with the argument drain", name)
		}
		for _, e := range f.Env {
			if got := env(c, e.Name); e.Name != "LISTEN_ADDRESS" && e.Name != "GOMEMLIMIT" && (got == nil || !reflect.DeepEqual(*got, e)) {
				t.Errorf("Job %s: %s is %+v, want %+v", name, e.Name, got, e)
			}
		}
		if share, mode := env(c, "SHARE"), j.Spec.CompletionMode; mode != nil && *mode == batchv1.IndexedCompletion {
			if want := fmt.Sprintf("$(JOB_COMPLETION_INDEX)/%d", *j.Spec.Completions); share == nil || share.Value != want {
				t.Errorf("Job %s: SHARE is %+v, want %s", name, share, want)
			}
		}
	})
	if n != 3 {
		t.Errorf("there are %d Jobs, want one of aggregate and of each sink", n)
	}
}

// Kubernetes puts in what $(NAME) stands for only where NAME comes earlier in the list;
// what it adds itself, as the index of a Job, comes last.
func TestAVariableIsDefinedBeforeItIsReferredTo(t *testing.T) {
	reference, n := regexp.MustCompile(`\$\(([A-Z_]+)\)`), 0
	look := func(name string, pod corev1.PodSpec) {
		for _, c := range pod.Containers {
			for i, e := range c.Env {
				for _, m := range reference.FindAllStringSubmatch(e.Value, -1) {
					n++
					if !slices.ContainsFunc(c.Env[:i], func(e corev1.EnvVar) bool { return e.Name == m[1] }) {
						t.Errorf("%s: %s refers to %s, which is not before it", name, e.Name, m[1])
					}
				}
			}
		}
	}
	for _, dir := range []string{"infra/deploy/services", "infra/deploy/drain", "infra/deploy/doctor"} {
		all := built(t, dir)
		each(all, func(name string, s *serving.Service) { look(name, s.Spec.Template.Spec.PodSpec) })
		each(all, func(name string, j *batchv1.Job) { look(name, j.Spec.Template.Spec) })
	}
	if n == 0 {
		t.Error("no variable refers to another")
	}
}

// What the doctor and the check of the quality are given is what the functions are given.
func TestJobsAreGivenWhatFunctionsAreGiven(t *testing.T) {
	given := map[string]corev1.EnvVar{}
	each(built(t, "infra/deploy/services"), func(_ string, s *serving.Service) {
		for _, e := range s.Spec.Template.Spec.Containers[0].Env {
			given[e.Name] = e
		}
	})
	pods := map[string]corev1.PodSpec{}
	each(built(t, "infra/deploy/doctor"), func(name string, j *batchv1.Job) { pods[name] = j.Spec.Template.Spec })
	each(built(t, "infra/deploy/quality"), func(name string, j *batchv1.CronJob) { pods[name] = j.Spec.JobTemplate.Spec.Template.Spec })
	for _, name := range []string{"doctor", "quality"} {
		pod := pods[name]
		if len(pod.Containers) != 1 || *pod.AutomountServiceAccountToken || !*pod.Containers[0].SecurityContext.ReadOnlyRootFilesystem {
			t.Errorf("%s: %+v", name, pod)
			continue
		}
		c := pod.Containers[0]
		for _, e := range c.Env {
			if want, ok := given[e.Name]; !ok || !reflect.DeepEqual(e, want) {
				t.Errorf("%s: %s is %+v, and a function's %+v", name, e.Name, e, want)
			}
		}
		for _, needed := range []string{"KAFKA_BROKERS", "SCHEMA_REGISTRY_URL", "REDIS_URL", "CLICKHOUSE_URL", "CLICKHOUSE_READER_URL", "ICEBERG_CATALOG_URI", "S3_SECRET_ACCESS_KEY"} {
			if env(c, needed) == nil {
				t.Errorf("%s lacks %s", name, needed)
			}
		}
	}
}

func TestOperatorSaysWhereGitHubIs(t *testing.T) {
	for _, dir := range overlays {
		all, asks := built(t, dir), 0
		each(all, func(name string, s *serving.Service) {
			c := s.Spec.Template.Spec.Containers[0]
			if env(c, "GITHUB_TOKEN") == nil {
				return
			}
			asks++
			if got := env(c, "GITHUB_GRAPHQL_URL"); got == nil || got.ValueFrom == nil || got.ValueFrom.ConfigMapKeyRef == nil {
				t.Errorf("%s: Service %s: GITHUB_GRAPHQL_URL is %+v, want it from the ConfigMap", dir, name, got)
			}
		})
		want := 2
		if strings.HasSuffix(dir, "all-in-one") {
			want = 1
		}
		if asks != want {
			t.Errorf("%s: %d functions ask GitHub, want %d", dir, asks, want)
		}
		each(all, func(name string, m *corev1.ConfigMap) {
			if got := m.Data["GITHUB_GRAPHQL_URL"]; got != "https://api.github.com/graphql" {
				t.Errorf("%s: ConfigMap %s: GITHUB_GRAPHQL_URL is %q", dir, name, got)
			}
		})
	}
}

// env is a variable of a container, or nil.
func env(c corev1.Container, name string) *corev1.EnvVar {
	if i := slices.IndexFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == name }); i >= 0 {
		return &c.Env[i]
	}
	return nil
}

// secretName says whether a variable may hold a secret: a token, a password, or
// an address with one in it.
func secretName(name string) bool {
	return slices.ContainsFunc([]string{"TOKEN", "PASSWORD", "SECRET", "ACCESS_KEY", "SASL_USER", "REDIS_URL", "CLICKHOUSE_URL", "CLICKHOUSE_READER_URL", "API_KEYS", "SCHEMA_REGISTRY_URL", "SIGNALS"}, func(part string) bool { return strings.Contains(name, part) })
}

func TestEachSourceAndTickHasItsFunctionAndEachTopicItsRetention(t *testing.T) {
	for _, dir := range overlays {
		all := built(t, dir)
		functions := map[string]bool{}
		each(all, func(name string, _ *serving.Service) { functions[name] = true })
		topics := map[string]bool{}
		each(all, func(name string, k *kafkaTopic) {
			topics[k.Spec.TopicName] = true
			if k.Spec.Config["retention.ms"] == nil || k.Spec.Config["cleanup.policy"] != "delete" || k.Spec.Config["max.message.bytes"] == nil || k.Metadata.Labels["strimzi.io/cluster"] == "" {
				t.Errorf("%s: KafkaTopic %s lacks its retention, its policy, its largest batch or its cluster", dir, name)
			}
			if dir == "infra/deploy/production" && (k.Spec.Replicas != 3 || k.Spec.Config["min.insync.replicas"] == nil) {
				t.Errorf("%s: KafkaTopic %s has %d replicas", dir, name, k.Spec.Replicas)
			}
		})
		pairs := map[string]string{}
		each(all, func(name string, k *kafkaSource) {
			topic := k.Spec.Topics[0]
			if !functions[k.Spec.Sink.Ref.Name] || !topics[topic] {
				t.Errorf("%s: KafkaSource %s from %s to %s: one of them is not there", dir, name, topic, k.Spec.Sink.Ref.Name)
			}
			pair := topic + " to " + k.Spec.Sink.Ref.Name
			if other := pairs[pair]; other != "" {
				t.Errorf("%s: %s and %s both ring %s", dir, name, other, pair)
			}
			pairs[pair] = name
			if tls := dir == "infra/deploy/production"; k.Spec.Net.TLS.Enable != tls || k.Spec.Net.SASL.Enable != tls || tls && (k.Spec.Net.SASL.Password.SecretKeyRef == nil || k.Spec.Net.TLS.CACert.SecretKeyRef == nil) {
				t.Errorf("%s: KafkaSource %s: net is %+v", dir, name, k.Spec.Net)
			}
		})
		woken := map[string]bool{}
		each(all, func(name string, p *sources.PingSource) {
			if !functions[p.Spec.Sink.Ref.Name] {
				t.Errorf("%s: PingSource %s: there is no %s", dir, name, p.Spec.Sink.Ref.Name)
			}
			woken[p.Spec.Sink.Ref.Name] = woken[p.Spec.Sink.Ref.Name] || strings.Contains(p.Spec.Data, "wake")
		})
		for name := range functions {
			if !woken[name] && name != "api" { // which reads no topic
				t.Errorf("%s: nothing wakes %s", dir, name)
			}
		}
		for _, topic := range []string{"github.fetch_requests", "github.base_repos.bells", "github.processed_repos.bells", "github.sweeps", "github.events.bells", "github.feed_reads", "github.signals"} {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(pairs)), func(p string) bool { return strings.HasPrefix(p, topic+" ") }) {
				t.Errorf("%s: nobody is rung by %s", dir, topic)
			}
		}
	}
}

func TestNetworkLetsFunctionsSpeakOnlyToWhatTheyUse(t *testing.T) {
	for _, dir := range overlays {
		all := built(t, dir)
		egress := map[string]bool{}
		var ingress bool
		each(all, func(name string, p *networkingv1.NetworkPolicy) {
			if slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
				ingress = true
				for _, r := range p.Spec.Ingress {
					if len(r.From) == 0 || len(r.Ports) == 0 {
						t.Errorf("%s: NetworkPolicy %s lets everybody in", dir, name)
					}
				}
			}
			for _, r := range p.Spec.Egress {
				if len(r.To) == 0 || len(r.Ports) == 0 {
					t.Errorf("%s: NetworkPolicy %s lets everything out", dir, name)
				}
				for _, to := range r.To {
					if to.IPBlock != nil && name != "fetch-org" && name != "fetch-events" && name != "notify" && name != "m7pulse" {
						t.Errorf("%s: NetworkPolicy %s leaves the cluster", dir, name)
					}
				}
			}
			if of := p.Spec.PodSelector.MatchLabels["serving.knative.dev/service"]; of != "" {
				egress[of] = true
			}
		})
		if !ingress {
			t.Errorf("%s: functions take requests from everybody", dir)
		}
		each(all, func(name string, _ *serving.Service) {
			if !egress[name] {
				t.Errorf("%s: %s may speak to nobody but the name server", dir, name)
			}
		})
	}
}

// The component for traces and metrics: every function sends to the Collector, may reach
// it and no more than before, and the Collector reads the configuration that was tried.
func TestFunctionsSendToTheCollectorWhereAnOverlayTakesItIn(t *testing.T) {
	dir := t.TempDir()
	for _, overlay := range []string{"production", "all-in-one"} {
		text := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n  - " + pathFrom(t, dir, root+"/infra/deploy/"+overlay) + "\ncomponents:\n  - " + pathFrom(t, dir, root+"/infra/deploy/telemetry") + "\n"
		if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		all := built(t, pathFrom(t, root, dir))
		var config, mounted, address string
		each(all, func(_ string, c *corev1.ConfigMap) {
			if text := c.Data["collector.yaml"]; text != "" {
				config, mounted = text, c.Name
			}
		})
		tried, err := os.ReadFile(root + "/infra/collector/collector.yaml")
		if err != nil || config != string(tried) {
			t.Errorf("%s: the Collector's configuration is not that of infra/collector: %v", overlay, err)
		}
		if n := each(all, func(_ string, d *appsv1.Deployment) {
			spec := d.Spec.Template.Spec
			if d.Name != "collector" || spec.Volumes[0].ConfigMap.Name != mounted || !strings.HasSuffix(env(spec.Containers[0], "OTLP_ADDRESS").Value, ":4318") {
				t.Errorf("%s: the Collector: %+v", overlay, spec)
			}
		}); n != 1 {
			t.Errorf("%s: %d Deployments", overlay, n)
		}
		each(all, func(name string, s *corev1.Service) {
			if name == "collector" {
				address = fmt.Sprintf("http://%s.%s.svc.cluster.local:%d", s.Name, s.Namespace, s.Spec.Ports[0].Port)
			}
		})
		if n := each(all, func(name string, s *serving.Service) {
			if v := env(s.Spec.Template.Spec.Containers[0], "OTEL_EXPORTER_OTLP_ENDPOINT"); v == nil || v.Value != address {
				t.Errorf("%s: %s sends to %v, the Collector is at %s", overlay, name, v, address)
			}
		}); n == 0 {
			t.Errorf("%s: no functions", overlay)
		}
		reach := false
		each(all, func(name string, p *networkingv1.NetworkPolicy) {
			for _, r := range p.Spec.Egress {
				for _, to := range r.To {
					if to.PodSelector != nil && to.PodSelector.MatchLabels["app.kubernetes.io/name"] == "collector" {
						reach = name == "functions-send-telemetry" && len(r.Ports) == 1 && r.Ports[0].Port.IntValue() == 4318
					}
				}
			}
		})
		if !reach {
			t.Errorf("%s: no policy lets the functions reach the Collector", overlay)
		}
		for _, d := range all {
			if err := validate(d); err != nil {
				t.Errorf("%s: %v", overlay, err)
			}
		}
	}
}

// pathFrom is the path of a folder as seen from another.
func pathFrom(t *testing.T, from, to string) string {
	t.Helper()
	here, err1 := filepath.Abs(from)
	there, err2 := filepath.Abs(to)
	path, err3 := filepath.Rel(here, there)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return path
}
