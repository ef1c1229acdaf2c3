package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/m7pulse/m7pulse/infra/local/clickhouse"
	"github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/infra/local/library"
	"github.com/m7pulse/m7pulse/infra/local/registry"
	"github.com/m7pulse/m7pulse/shared/child"
	"github.com/m7pulse/m7pulse/shared/freeport"
)

// secured are servers on this machine that take no connection without TLS, under
// a certificate that only SSL_CERT_FILE makes trusted, and no request without a
// password.
type secured struct {
	t         *testing.T
	dir       string
	cert, key string // files
	tls       *tls.Config
}

func newSecured(t *testing.T) *secured {
	t.Helper()
	s := &secured{t: t, dir: t.TempDir()}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "m7pulse e2e"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s.cert = s.write("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	s.key = s.write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	s.tls = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	return s
}

func (s *secured) write(name string, content []byte) string {
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// serve puts TLS before a handler and returns host:port.
func (s *secured) serve(h http.Handler) string {
	srv := httptest.NewUnstartedServer(h)
	srv.TLS = s.tls.Clone()
	srv.StartTLS()
	s.t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// kafka takes SCRAM-SHA-512 over TLS, as Strimzi's listeners do.
func (s *secured) kafka(user, password string) string {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(s.tls), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", user, password))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c.ListenAddrs()[0]
}

// registry takes basic authentication.
func (s *secured) registry(user, password string) string {
	r, err := registry.Open(filepath.Join(s.dir, "registry"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { r.Close() })
	handler := r.Handler()
	return s.serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if u, p, ok := req.BasicAuth(); !ok || u != user || p != password {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error_code":401,"message":"Unauthorized"}`)
			return
		}
		handler.ServeHTTP(w, req)
	}))
}

// redis is redis-server itself where it is on PATH.
func (s *secured) redis(password string) string {
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		s.t.Log("NO redis-server ON PATH: miniredis takes the place of the real one")
		m := miniredis.NewMiniRedis()
		if err := m.StartTLS(s.tls); err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(m.Close)
		m.RequireAuth(password)
		return m.Addr()
	}
	address := free(s.t)
	_, port, _ := net.SplitHostPort(address)
	config := s.write("redis.conf", fmt.Appendf(nil, "port 0\ntls-port %s\nbind 127.0.0.1\ntls-cert-file %s\ntls-key-file %s\ntls-ca-cert-file %s\ntls-auth-clients no\nrequirepass %s\nappendonly yes\ndir %s\n",
		port, s.cert, s.key, s.cert, password, s.dir))
	s.child(exec.Command(binary, config), address)
	return address
}

// clickhouse is the embedded engine with a password, TLS before it.
func (s *secured) clickhouse(password string) string {
	engine, err := library.Fetch(s.t.Context(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	path, err := filepath.Abs(binary)
	if err != nil {
		s.t.Fatal(err)
	}
	address := free(s.t)
	s.child(clickhouse.Embedded(path, clickhouse.Config{Library: engine, DataDir: filepath.Join(s.dir, "clickhouse"), Addr: address, Password: password}), address)
	return s.serve(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address}))
}

// s3 checks each request's signature.
func (s *secured) s3(key, secret string) string {
	backend := s3mem.New()
	if err := backend.CreateBucket(s.t.Context(), "warehouse"); err != nil {
		s.t.Fatal(err)
	}
	return s.serve(gofakes3.New(backend, gofakes3.WithV4Auth(map[string]string{key: secret})).Server())
}

// child runs a server until the test ends, and waits until it listens.
func (s *secured) child(cmd *exec.Cmd, address string) {
	s.t.Helper()
	var out bytes.Buffer // to be read once the process has ended
	cmd.Stdout, cmd.Stderr = &out, &out
	server, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = server.Stop(0) })
	starting, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	err = server.Await(starting, 20*time.Millisecond, func(ctx context.Context) bool {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		return err == nil && conn.Close() == nil
	})
	if err != nil {
		_ = server.Stop(0)
		s.t.Fatalf("start %s: %v\n%s", cmd.Path, err, out.String())
	}
}

func free(t *testing.T) string {
	t.Helper()
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// TestEveryServerIsReachedByTLSWithAPasswordAndNoSecretIsShown sweeps an emulated
// GitHub into servers that all want TLS and a password, and then looks for
// the passwords wherever they must not be.
func TestEveryServerIsReachedByTLSWithAPasswordAndNoSecretIsShown(t *testing.T) {
	long(t)
	t.Parallel()
	s := newSecured(t)
	secrets := map[string]string{}
	secret := func(name string) string {
		secrets[name] = name + "-" + rand.Text()
		return secrets[name]
	}
	token := "ghp_" + secret("token")
	emulator, err := github.New(github.NewWorld(), token)
	if err != nil {
		t.Fatal(err)
	}
	secureEnv := []string{
		"SSL_CERT_FILE=" + s.cert, "GITHUB_TOKEN=" + token, "GITHUB_GRAPHQL_URL=https://" + s.serve(emulator), "OWNERS=acme,jane",
		"KAFKA_TLS=true", "KAFKA_SASL_MECHANISM=SCRAM-SHA-512", "KAFKA_SASL_USER=pulse", "KAFKA_SASL_PASSWORD=" + secret("kafka"), "KAFKA_BROKERS=" + s.kafka("pulse", secrets["kafka"]),
		"SCHEMA_REGISTRY_URL=https://pulse:" + secret("registry") + "@" + s.registry("pulse", secrets["registry"]),
		"REDIS_URL=rediss://:" + secret("redis") + "@" + s.redis(secrets["redis"]),
		"CLICKHOUSE_URL=https://default:" + secret("clickhouse") + "@" + s.clickhouse(secrets["clickhouse"]),
		"ICEBERG_CATALOG_URI=sqlite://" + filepath.Join(s.dir, "catalog.db"), "ICEBERG_WAREHOUSE=s3://warehouse",
		"S3_ACCESS_KEY_ID=" + secret("s3key"), "S3_SECRET_ACCESS_KEY=" + secret("s3secret"), "S3_ENDPOINT=https://" + s.s3(secrets["s3key"], secrets["s3secret"]),
	}
	p := newPulse(t, secureEnv...)
	shown := p.run("up", "--detach")
	if a := p.audit(); a.Observations != 10 || a.ClickHouse != 10 || a.IcebergRaw != 10 || a.IcebergProcessed != 10 || !a.Clean {
		t.Errorf("audit: %+v\n%s", a, p.logs())
	}
	p.post("AGGREGATE_URL", "dev.m7pulse.repo.observed.v1", "application/json", "invalid")
	for _, args := range [][]string{{"status"}, {"status", "--json"}, {"top"}, {"owners", "list"}, {"owners", "forecast", "acme"}, {"dlq", "list", "--json"}, {"audit", "--wait"}, {"wake"}} {
		out, err := p.try(args...)
		if err != nil {
			t.Errorf("pulse %v: %v\n%s", args, err, out)
		}
		shown += out
	}

	// Wrong ones are said to be wrong, not what they are.
	one := s.write("one.jsonl", []byte(`{"specversion":"1.0","id":"1","type":"dev.m7pulse.repo.observed.v1","source":"/e2e","datacontenttype":"application/json","data":{"repo_id":1,"name_with_owner":"a/b","stars":1,"observed_at":"2026-01-02T00:00:00Z"}}`))
	for _, w := range []struct {
		old, new string
		args     []string
		want     string
	}{
		{"KAFKA_SASL_PASSWORD=", "KAFKA_SASL_PASSWORD=wr", []string{"drain", "sink-clickhouse"}, ""},
		{"KAFKA_SASL_MECHANISM=SCRAM", "KAFKA_SASL_MECHANISM=MY-SCRAM", []string{"drain", "sink-clickhouse"}, "KAFKA_SASL_MECHANISM"},
		{"KAFKA_TLS=true", "KAFKA_TLS=false", []string{"drain", "sink-clickhouse"}, ""},
		{"registry-", "wr", []string{"replay", one}, "Unauthorized"},
		{"redis-", "wr", []string{"drain", "sink-clickhouse"}, "WRONGPASS"},
		{"clickhouse-", "wr", []string{"drain", "sink-clickhouse"}, "AUTHENTICATION_FAILED"},
		{"s3secret-", "wr", []string{"drain", "sink-iceberg"}, "SignatureDoesNotMatch"},
	} {
		wrong := *p
		wrong.env = nil
		for _, v := range p.env {
			wrong.env = append(wrong.env, strings.Replace(v, w.old, w.new, 1))
		}
		out, err := wrong.try(w.args...)
		if err == nil || !strings.Contains(out, w.want) {
			t.Errorf("pulse %v with %s: %v, want %q\n%s", w.args, w.new, err, w.want, out)
		}
		shown += out
	}

	holds := func(where string, text []byte) {
		for name, value := range secrets {
			if _, random, _ := strings.Cut(value, "-"); bytes.Contains(text, []byte(random)) {
				t.Errorf("%s shows the secret of %s", where, name)
			}
		}
	}
	holds("the command line's output", []byte(shown))
	files := 0
	err = filepath.WalkDir(p.home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.Name() == "env" && info.Mode().Perm() == 0o600 { // what it is for
			return nil
		}
		text, err := os.ReadFile(path)
		holds(path, text)
		files++
		return err
	})
	if err != nil || files < 6 {
		t.Errorf("%d files of the home were read: %v", files, err)
	}
	functions := 0
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range processes {
		line, err := os.ReadFile(path)
		if err != nil { // it has ended
			continue
		}
		holds(path, line)
		if strings.Contains(string(line), "bin/e2e/") {
			functions++
		}
	}
	if _, err := os.Stat("/proc/self/cmdline"); err == nil && functions < 3 {
		t.Errorf("%d processes of ours were looked at", functions)
	}
}
