package stack

import "testing"

func TestAddressesAreShownWithoutPasswords(t *testing.T) {
	for address, want := range map[string]string{
		"a:9092,b:9092":                             "a:9092,b:9092",
		"redis://host:6379/2":                       "redis://host:6379/2",
		"rediss://user:pass@host:6379":              "rediss://host:6379",
		"http://user:p@ss@host:8123":                "http://host:8123",
		"clickhouse://a:1,b:2/pulse?password=x":     "clickhouse://a:1,b:2/pulse",
		"https://:only-a-password@host":             "https://host",
		"sqlite:///home/a@b/catalog.db":             "sqlite:///home/a@b/catalog.db",
		"http://nessie:19120/iceberg/main?token=xy": "http://nessie:19120/iceberg/main",
	} {
		if got := public(address); got != want {
			t.Errorf("%s is shown as %s, want %s", address, got, want)
		}
	}
}
