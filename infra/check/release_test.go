package check

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestAReleaseHasEveryProgramBuiltAsTheMakefileBuildsIt(t *testing.T) {
	var release struct {
		Builds []struct {
			ID, Main, Binary string
			Env, Tags, Flags []string
			Goos, Goarch     []string
		}
	}
	if err := yaml.Unmarshal(read(t, "../../.goreleaser.yaml"), &release); err != nil {
		t.Fatal(err)
	}
	programs, err := filepath.Glob("../../cmd/functions/*")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"./cmd/pulse"}
	for _, p := range programs {
		want = append(want, "./cmd/functions/"+filepath.Base(p))
	}
	tags := regexp.MustCompile(`(?m)^TAGS := (.+)$`).FindSubmatch(read(t, "../../Makefile"))
	if tags == nil {
		t.Fatal("the Makefile sets no TAGS")
	}
	var got []string
	for _, b := range release.Builds {
		got = append(got, b.Main)
		if name := filepath.Base(b.Main); b.ID != name || b.Binary != "bin/"+name {
			t.Errorf("build %s of %s makes %s, want bin/%s", b.ID, b.Main, b.Binary, name)
		}
		for what, pair := range map[string][2][]string{
			"tags":   {b.Tags, {string(tags[1])}},
			"env":    {b.Env, {"CGO_ENABLED=0"}},
			"flags":  {b.Flags, {"-trimpath", "-buildvcs=true"}},
			"goos":   {b.Goos, {"linux", "darwin"}},
			"goarch": {b.Goarch, {"amd64", "arm64"}},
		} {
			if !slices.Equal(pair[0], pair[1]) {
				t.Errorf("build %s: %s %q, want %q", b.ID, what, pair[0], pair[1])
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("a release has\n%q, want\n%q", got, want)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
