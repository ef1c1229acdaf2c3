package clickhouse

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTheNativeServerListensOnOneAddressInUTC(t *testing.T) {
	dir := t.TempDir()
	cmd, err := Native("/opt/clickhouse", Config{DataDir: dir, Addr: "127.0.0.1:18123", Reader: Reader{User: "reader", Password: "a<b&c"}})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"/opt/clickhouse", "server", "--config-file=" + filepath.Join(dir, "config.xml")}; !slices.Equal(cmd.Args, want) {
		t.Errorf("command %q, want %q", cmd.Args, want)
	}
	if cmd.Env[len(cmd.Env)-1] != "TZ=UTC" || cmd.Dir != dir {
		t.Errorf("environment ends in %q, directory %s", cmd.Env[len(cmd.Env)-1], cmd.Dir)
	}
	read := func(name string, into any) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := xml.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var config struct {
		Host []string `xml:"listen_host"`
		HTTP []string `xml:"http_port"`
		Zone string   `xml:"timezone"`
		Path string   `xml:"path"`
	}
	text := read("config.xml", &config)
	if !slices.Equal(config.Host, []string{"127.0.0.1"}) || !slices.Equal(config.HTTP, []string{"18123"}) || config.Zone != "UTC" || config.Path != dir+"/data/" {
		t.Errorf("%+v", config)
	}
	for _, other := range []string{"tcp_port", "mysql_port", "postgresql_port", "interserver_http_port"} {
		if strings.Contains(text, other) {
			t.Errorf("it has a %s", other)
		}
	}
	var users struct {
		Readonly string `xml:"profiles>reader>readonly"`
		Time     string `xml:"profiles>reader>max_execution_time"`
		Profile  string `xml:"users>reader>profile"`
		Password string `xml:"users>reader>password"`
		Default  string `xml:"users>default>profile"`
	}
	read("users.xml", &users)
	if users.Readonly != "1" || users.Time != "30" || users.Profile != "reader" || users.Password != "a<b&c" || users.Default != "default" {
		t.Errorf("%+v", users)
	}
	if info, err := os.Stat(filepath.Join(dir, "users.xml")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("users.xml: %v %v", info.Mode(), err)
	}
}

func TestANativeServerNeedsAPortAndAPlainReader(t *testing.T) {
	for _, cfg := range []Config{{DataDir: "d", Addr: "127.0.0.1:0"}, {DataDir: "d", Addr: "127.0.0.1:1", Reader: Reader{User: "a/><b", Password: "p"}}} {
		if _, err := Native("clickhouse", cfg); err == nil {
			t.Errorf("%+v passes", cfg)
		}
	}
}
