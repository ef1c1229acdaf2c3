package main

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/clickhouse"
	"github.com/m7pulse/m7pulse/infra/local/knative"
	"github.com/m7pulse/m7pulse/infra/local/library"
	"github.com/m7pulse/m7pulse/infra/local/stack"
)

//go:embed manifests/servers.yaml
var serversManifest string

// server is one that the functions need: its name and port in the cluster, and its
// port on the host.
type server struct {
	Name           string
	Port, HostPort int
}

// HostIP is where it listens.
func (server) HostIP() string { return hostIP }

func (s server) address() string { return net.JoinHostPort(hostIP, strconv.Itoa(s.HostPort)) }

// The servers, by the names that infra/kind gives them.
var (
	kafkaServer      = server{"m7pulse-kafka-bootstrap", 9092, 29092}
	registryServer   = server{"schema-registry", 8081, 28481}
	redisServer      = server{"redis", 6379, 26379}
	clickhouseServer = server{"clickhouse", 8123, 28123}
	minioServer      = server{"minio", 9000, 29000}
	nessieServer     = server{"nessie", 19120, 29120}
	githubServer     = server{"github", 9470, 29470}

	servers = []server{kafkaServer, registryServer, redisServer, clickhouseServer, minioServer, nessieServer, githubServer}
)

// emulatorOwners are those of the emulator of GitHub, the same as OWNERS in
// infra/cluster/product: enough that four replicas of fetch-org have work.
var emulatorOwners = []string{"acme", "globex", "initech", "umbrella", "hooli", "wonka", "tyrell", "soylent", "stark", "wayne", "duff", "jane:user"}

// emulatorToken is the token that the emulator of GitHub takes.
const emulatorToken = "emulated"

// realServers are those of infra/servers that are used here.
var realServers = []string{"kafka", "registry", "minio", "nessie"}

// serversDir has the programs of infra/servers, and data of its own: tests of those
// servers on this machine do not meet.
func (c *cluster) serversDir() string { return filepath.Join(c.run, "servers") }

func (c *cluster) serversCommand(ctx context.Context, command string, env ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.root, "infra", "servers", "servers.sh"), append([]string{command}, realServers...)...)
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

// installServers fetches and builds what runs beside the node.
func (c *cluster) installServers(ctx context.Context) error {
	if _, err := library.Fetch(ctx, nil); err != nil {
		return err
	}
	err := shown(c.serversCommand(ctx, "install"))
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 4 {
		return unavailable{"infra/servers cannot be installed"}
	}
	return err
}

// here are the settings by which infra/servers is moved to this cluster.
func (c *cluster) here() []string {
	return []string{
		"SERVERS_DIR=" + c.serversDir(), "SERVERS_HOST=" + hostIP,
		"KAFKA_PORT=" + strconv.Itoa(kafkaServer.HostPort), "KAFKA_CONTROLLER_PORT=" + strconv.Itoa(kafkaServer.HostPort+1),
		"REGISTRY_PORT=" + strconv.Itoa(registryServer.HostPort), "MINIO_PORT=" + strconv.Itoa(minioServer.HostPort), "NESSIE_PORT=" + strconv.Itoa(nessieServer.HostPort),
	}
}

// wipeServers stops those of infra/servers and deletes their data.
func (c *cluster) wipeServers(ctx context.Context) error {
	if _, err := os.Stat(c.serversDir()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return shown(c.serversCommand(ctx, "wipe", c.here()...))
}

// startServers starts the servers on the host's end of the pair of interfaces.
func (n *node) startServers(ctx context.Context) error {
	home, err := os.UserHomeDir()
	if err != nil {
		return err
	}
	installed := os.Getenv("SERVERS_DIR")
	if installed == "" {
		installed = filepath.Join(home, ".cache", "m7pulse", "servers")
	}
	for _, name := range realServers {
		dir := filepath.Join(n.serversDir(), name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		versions, err := filepath.Glob(filepath.Join(installed, name, "*[0-9]*.*[0-9]*")) // neither data nor settings
		if err != nil {
			return err
		}
		for _, version := range versions {
			if err := os.Symlink(version, filepath.Join(dir, filepath.Base(version))); err != nil {
				return err
			}
		}
	}
	if err := shown(n.serversCommand(ctx, "start", n.here()...)); err != nil {
		return err
	}
	password, reader := rand.Text(), rand.Text()
	redis := exec.Command("redis-server", "-")
	redis.Stdin = strings.NewReader(fmt.Sprintf("bind %s\nport %d\nrequirepass %s\ndir %s\nappendonly yes\nmaxmemory-policy noeviction\n", hostIP, redisServer.HostPort, password, n.run))
	if err := n.daemon("redis", redis); err != nil {
		return err
	}
	pulse := filepath.Join(n.root, "bin", "pulse")
	engine, err := library.Fetch(ctx, nil)
	if err != nil {
		return err
	}
	err = n.daemon("clickhouse", clickhouse.Embedded(pulse, clickhouse.Config{
		Library: engine, DataDir: filepath.Join(n.run, "clickhouse"), Addr: clickhouseServer.address(), Password: password,
		Reader: clickhouse.Reader{User: "reader", Password: reader},
	}))
	if err != nil {
		return err
	}
	if err := n.daemon("emulator", exec.Command(pulse, "github-emulator", "--instant", "--repos", "1000", "--owners", strings.Join(emulatorOwners, ","),
		"--token", emulatorToken, "--listen", githubServer.address())); err != nil {
		return err
	}
	for _, s := range []server{redisServer, clickhouseServer, githubServer} {
		err := until(ctx, 5*time.Minute, s.Name+" (logs: "+filepath.Join(n.run, "logs")+")", func(ctx context.Context) error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.address())
			if err == nil {
				err = conn.Close()
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	ingress, err := n.kubectl(ctx, "", "--namespace", "ingress", "get", "service", "private", "--output", "jsonpath={.spec.clusterIP}")
	if err != nil {
		return err
	}
	return n.writeEnv(map[string]string{
		"KAFKA_BROKERS": kafkaServer.address(), "KAFKA_TLS": "false", "KAFKA_SASL_USER": "", "KAFKA_SASL_PASSWORD": "", "KAFKA_SASL_MECHANISM": "",
		"SCHEMA_REGISTRY_URL":   "http://" + registryServer.address() + "/apis/ccompat/v7",
		"REDIS_URL":             "redis://:" + password + "@" + redisServer.address(),
		"CLICKHOUSE_URL":        "http://default:" + password + "@" + clickhouseServer.address(),
		"CLICKHOUSE_READER_URL": "http://reader:" + reader + "@" + clickhouseServer.address(),
		"ICEBERG_CATALOG_URI":   "http://" + nessieServer.address() + "/iceberg/main", "ICEBERG_WAREHOUSE": "s3://warehouse",
		"S3_ENDPOINT": "http://" + minioServer.address(), "S3_REGION": "us-east-1", "S3_ACCESS_KEY_ID": "minioadmin", "S3_SECRET_ACCESS_KEY": "minioadmin",
		"GITHUB_TOKEN": emulatorToken,
		"PULSE_HOME":   filepath.Join(n.run, "home"), "KUBECONFIG": n.kubeconfig(), "KUBECTL": n.program("kubectl"), "INGRESS": net.JoinHostPort(ingress, "80"),
	})
}

func (c *cluster) envFile() string { return filepath.Join(c.run, "env") }

// writeEnv writes the addresses as the host sees them, as a shell reads them.
func (c *cluster) writeEnv(env map[string]string) error {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(env)) {
		fmt.Fprintf(&text, "%s='%s'\n", name, env[name])
	}
	return os.WriteFile(c.envFile(), []byte(text.String()), 0o600)
}

// readEnv reads what writeEnv wrote.
func (c *cluster) readEnv() (map[string]string, error) {
	text, err := os.ReadFile(c.envFile())
	if err != nil {
		return nil, fmt.Errorf("read the addresses of the cluster's servers; is it up? %w", err)
	}
	env := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		env[name] = strings.Trim(value, "'")
	}
	return env, nil
}

// secret is the Secret m7pulse as docs/deploy.md wants it, with the addresses as
// pods see them.
func (c *cluster) secret(token string) (manifest string, err error) {
	env, err := c.readEnv()
	if err != nil {
		return "", err
	}
	inside := strings.NewReplacer(
		registryServer.address(), registryServer.inside(), redisServer.address(), redisServer.inside(), clickhouseServer.address(), clickhouseServer.inside())
	encoded := func(value string) string { return base64.StdEncoding.EncodeToString([]byte(value)) }
	var text strings.Builder
	text.WriteString("apiVersion: v1\nkind: Secret\nmetadata:\n  name: m7pulse\n  namespace: m7pulse\ndata:\n  API_KEYS: ''\n")
	for _, name := range []string{"KAFKA_SASL_MECHANISM", "KAFKA_SASL_USER", "KAFKA_SASL_PASSWORD", "SCHEMA_REGISTRY_URL", "REDIS_URL", "CLICKHOUSE_URL", "CLICKHOUSE_READER_URL", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"} {
		fmt.Fprintf(&text, "  %s: '%s'\n", name, encoded(inside.Replace(env[name])))
	}
	fmt.Fprintf(&text, "  GITHUB_TOKEN: '%s'\n", encoded(token))
	return text.String(), nil
}

// inside is a server's address in the cluster.
func (s server) inside() string {
	return net.JoinHostPort(s.Name+".m7pulse.svc.cluster.local", strconv.Itoa(s.Port))
}

// applyProduct applies infra/deploy/dev by way of infra/cluster/product, and starts
// the sources.
func (n *node) applyProduct(ctx context.Context) error {
	names, err := template.New("servers").Parse(serversManifest)
	if err != nil {
		return err
	}
	var addresses bytes.Buffer
	if err := names.Execute(&addresses, servers); err != nil {
		return err
	}
	env, err := n.readEnv()
	if err != nil {
		return err
	}
	secret, err := n.secret(env["GITHUB_TOKEN"])
	if err != nil {
		return err
	}
	if err := n.apply(ctx, "", filepath.Join(n.root, "infra/knative/namespace.yaml")); err != nil {
		return err
	}
	if err := n.apply(ctx, addresses.String()+"\n---\n"+secret); err != nil {
		return err
	}
	if err := n.startSources(ctx); err != nil { // first: the topics come with them
		return err
	}
	if _, err := n.kubectl(ctx, "", "apply", "--server-side", "--force-conflicts", "--kustomize", n.dir("product")); err != nil {
		return err
	}
	_, err = n.kubectl(ctx, "", "--namespace", "m7pulse", "wait", "--for=condition=Ready", "services.serving.knative.dev", "--all", "--timeout=600s")
	return err
}

// startSources starts the sources in a process of their own, and makes the topics.
func (c *cluster) startSources(ctx context.Context) error {
	sources := exec.Command(filepath.Join(c.root, "bin", "cluster"), "sources")
	sources.Dir = c.root
	if err := c.daemon("sources", sources); err != nil {
		return err
	}
	log := filepath.Join(c.run, "logs", "sources.log")
	return until(ctx, 5*time.Minute, "the sources and topics (log: "+log+")", func(context.Context) error {
		if _, err := c.process("sources"); err != nil {
			return err
		}
		text, err := os.ReadFile(log)
		if err == nil && !strings.Contains(string(text), sourcesStarted) {
			err = errors.New("not started")
		}
		return err
	})
}

// sourcesStarted is in the log of the sources once they run.
const sourcesStarted = "the sources post to"

// serveSources runs the KafkaSources of infra/knative until it is stopped. They post
// to the Services through the cluster's ingress.
func (c *cluster) serveSources(ctx context.Context) error {
	env, err := c.readEnv()
	if err != nil {
		return err
	}
	topology, err := knative.Load(c.root)
	if err != nil {
		return err
	}
	kafka, err := stack.KafkaOf(ctx, env)
	if err != nil {
		return err
	}
	sources, err := knative.New(knative.Config{Topology: topology, Kafka: kafka, Ingress: env["INGRESS"]})
	if err != nil {
		return err
	}
	if err := sources.Start(ctx); err != nil {
		return err
	}
	fmt.Println(sourcesStarted, env["INGRESS"])
	<-ctx.Done()
	return sources.Stop(context.WithoutCancel(ctx))
}
