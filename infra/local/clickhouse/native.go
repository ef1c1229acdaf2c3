package clickhouse

import (
	"encoding/xml"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Native returns the command that runs the real server of a clickhouse binary in place of Serve, for the same users, data apart, and writes the server's
// configuration into the data directory. It listens on the host and port of cfg.Addr, HTTP only, with all times in UTC. The caller starts and stops it; it
// answers GET /ping once it is ready. cfg.Library and cfg.Ready play no part.
func Native(binary string, cfg Config) (*exec.Cmd, error) {
	cfg.Library = firstOf(cfg.Library, binary)
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("clickhouse server: %w", err)
	}
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("clickhouse server: %w", err)
	}
	config, users, err := nativeConfig(dir, cfg)
	if err != nil {
		return nil, fmt.Errorf("clickhouse server: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("clickhouse server: make the data directory: %w", err)
	}
	for name, text := range map[string]string{"config.xml": config, "users.xml": users} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("clickhouse server: write its configuration: %w", err)
		}
	}
	cmd := exec.Command(binary, "server", "--config-file="+filepath.Join(dir, "config.xml"))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TZ=UTC")
	return cmd, nil
}

// nativeConfig is the text of config.xml and users.xml.
func nativeConfig(dir string, cfg Config) (config, users string, err error) {
	host, port, err := net.SplitHostPort(cfg.Addr)
	if err != nil {
		return "", "", err
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "", fmt.Errorf("%s: a server needs a port", cfg.Addr)
	}
	var b strings.Builder
	element := func(indent int, name, value string) {
		b.WriteString(strings.Repeat("  ", indent) + "<" + name + ">")
		xml.EscapeText(&b, []byte(value)) // a strings.Builder takes anything
		b.WriteString("</" + name + ">\n")
	}
	b.WriteString("<clickhouse>\n")
	element(1, "listen_host", host)
	element(1, "http_port", port)
	element(1, "timezone", "UTC")
	for _, path := range []string{"path data/", "tmp_path tmp/", "user_files_path user_files/", "format_schema_path format_schemas/"} {
		name, sub, _ := strings.Cut(path, " ")
		element(1, name, dir+"/"+sub)
	}
	b.WriteString("  <logger>\n")
	element(2, "level", "warning")
	element(2, "log", filepath.Join(dir, "server.log"))
	element(2, "size", "10M")
	element(2, "count", "2")
	b.WriteString("  </logger>\n  <user_directories>\n    <users_xml>\n")
	element(3, "path", filepath.Join(dir, "users.xml"))
	b.WriteString("    </users_xml>\n  </user_directories>\n</clickhouse>\n")
	config = b.String()

	b.Reset()
	b.WriteString("<clickhouse>\n  <profiles>\n    <default>\n")
	element(3, "max_execution_time", strconv.FormatInt(int64(cfg.MaxExecutionTime.Seconds()), 10))
	element(3, "max_memory_usage", strconv.FormatInt(cfg.MaxMemory, 10))
	b.WriteString("    </default>\n    <reader>\n")
	element(3, "readonly", "1")
	element(3, "max_execution_time", strconv.FormatInt(int64(cfg.Reader.MaxExecutionTime.Seconds()), 10))
	element(3, "max_memory_usage", strconv.FormatInt(cfg.Reader.MaxMemory, 10))
	b.WriteString("    </reader>\n  </profiles>\n  <quotas>\n    <default/>\n  </quotas>\n  <users>\n")
	user := func(name, password, profile string) {
		b.WriteString("    <" + name + ">\n")
		element(3, "password", password)
		b.WriteString("      <networks>\n")
		element(4, "ip", "127.0.0.1")
		element(4, "ip", "::1")
		b.WriteString("      </networks>\n")
		element(3, "profile", profile)
		element(3, "quota", "default")
		b.WriteString("    </" + name + ">\n")
	}
	user(fullUser, cfg.Password, "default")
	if name := cfg.Reader.User; name != "" {
		if strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789_") != "" || name[0] >= '0' && name[0] <= '9' {
			return "", "", fmt.Errorf("the reader's name must be letters, digits and _, not %q", name)
		}
		user(name, cfg.Reader.Password, "reader")
	}
	b.WriteString("  </users>\n</clickhouse>\n")
	return config, b.String(), nil
}
