package superset

import "testing"

func TestTrinoURI(t *testing.T) {
	for address, want := range map[string]string{
		"":                                   "",
		"http://reader@trino:8080":           "trino://reader@trino:8080/iceberg/pulse",
		"https://reader:p%40ss@trino:8443":   "trino://reader:p%40ss@trino:8443/iceberg/pulse",
		"http://reader:in-the-clear@trino:1": "error",
		"https://reader@trino:8443":          "error",
		"http://trino:8080":                  "error",
		"trino:8080":                         "error",
	} {
		got, err := trinoURI(address)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q is %q, want %q", address, got, want)
		}
	}
}
