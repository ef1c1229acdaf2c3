package main

import (
	"strings"
	"testing"
)

func TestManifestsOfKoGetTheNamesOfImportedImages(t *testing.T) {
	for in, want := range map[string]string{
		"image: ko://knative.dev/serving/cmd/activator\nnext": "image: dev.local/knative.dev/serving/cmd/activator:dev\nnext",
		`value: "ko://a/b"`:    `value: "dev.local/a/b:dev"`,
		"x: ko://a\ny: ko://b": "x: dev.local/a:dev\ny: dev.local/b:dev",
		"nothing":              "nothing",
	} {
		if got := imaged(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	if got := imaged(ingressManifest); strings.Contains(got, "ko://") || !strings.Contains(got, "image: dev.local/github.com/m7pulse/m7pulse/infra/cluster/knative/ingress:dev\n") {
		t.Error(got)
	}
}
