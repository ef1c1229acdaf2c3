package check

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The image's worker is what infra/servers runs and make connect-test tries.
func TestConnectIsTheSameEverywhere(t *testing.T) {
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile(root + path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	image, script := read("/infra/connect/Dockerfile"), read("/infra/servers/servers.sh")
	pinned := regexp.MustCompile(`-D(kafka|iceberg|hadoop|apicurio)=([0-9][0-9A-Za-z.]*)`).FindAllStringSubmatch(image, -1)
	if len(pinned) != 4 {
		t.Fatalf("the image pins %v", pinned)
	}
	for _, p := range pinned {
		if !strings.Contains(script, strings.ToUpper(p[1])+"="+p[2]) {
			t.Errorf("infra/servers runs another %s than %s", p[1], p[2])
		}
		if p[1] == "kafka" && !strings.Contains(image, "FROM apache/kafka:"+p[2]+"\n") {
			t.Errorf("the image is of another Kafka than its jars, %s", p[2])
		}
	}
	// Each variable of the connector that runs there is given, in compose and in kind.
	text := read("/infra/connect/worker.properties") + read("/infra/connect/archive.properties")
	_, compose, _ := strings.Cut(read("/infra/compose/compose.yaml"), "\n  connect:\n")
	compose, _, _ = strings.Cut(compose, "\n\n")
	kind := read("/infra/kind/connect.yaml")
	for _, v := range regexp.MustCompile(`\$\{env:([A-Z0-9_]+)\}`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(compose, " "+v[1]+":") || !strings.Contains(kind, "name: "+v[1]+"\n") {
			t.Errorf("%s is not given in compose.yaml or connect.yaml", v[1])
		}
	}
}
