package sweep

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestTheFileListsCompaniesPeopleAndRepositories(t *testing.T) {
	file := filepath.Join(t.TempDir(), "owners.yaml")
	text := `
companies:
  amazon:
    - aws
    - {login: awslabs, include: ["AWS-*"], exclude: ["*-archive"]}
people:
  - torvalds
  - {login: gvanrossum, company: microsoft}
repositories:
  - rust-lang/rust
  - rust-lang/Cargo
  - meta=react-native-community/cli
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, errs := ReadRoster("", file)
	if errs != nil {
		t.Fatal(errs)
	}
	want := Roster{
		"aws":                    {Login: "aws", Company: "amazon"},
		"awslabs":                {Login: "awslabs", Company: "amazon", Include: []string{"aws-*"}, Exclude: []string{"*-archive"}},
		"torvalds":               {Login: "torvalds"},
		"gvanrossum":             {Login: "gvanrossum", Company: "microsoft"},
		"rust-lang":              {Login: "rust-lang", Repos: []string{"cargo", "rust"}},
		"react-native-community": {Login: "react-native-community", Company: "meta", Repos: []string{"cli"}},
	}
	for login, w := range want {
		if g := got[login]; fmt.Sprintf("%+v", g) != fmt.Sprintf("%+v", w) {
			t.Errorf("%s: %+v, want %+v", login, g, w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d owners, want %d", len(got), len(want))
	}
}

func TestTheShippedOwnersAreGoodAlsoWithAllOfThem(t *testing.T) {
	text, err := os.ReadFile("../../../owners.yaml")
	if err != nil {
		t.Fatal(err)
	}
	shipped, errs := ReadRoster("", "../../../owners.yaml")
	if errs != nil || len(shipped) != 7 {
		t.Fatalf("%d owners, %v", len(shipped), errs)
	}
	all := strings.ReplaceAll(string(text), "    # - ", "    - ")
	file := filepath.Join(t.TempDir(), "owners.yaml")
	if err := os.WriteFile(file, []byte(all), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, errs := ReadRoster("", file); errs != nil || len(r) < 60 {
		t.Errorf("%d owners, %v", len(r), errs)
	}
}

func TestABadEntryIsToldWithItsReason(t *testing.T) {
	for text, want := range map[string]string{
		"people: [a b]":                                         `invalid login "a b"`,
		"people: [{login: a, inclde: [x]}]":                     `unknown key "inclde"`,
		"people: [{login: a, include: ['[']}]":                  "syntax error in pattern",
		"people: [{login: a, repos: [x], include: [y]}]":        "want one of the two",
		"repositories: [rust]":                                  "want owner/name",
		"repositories: ['a/b c']":                               "invalid repository name",
		"companies: {x: [a], y: [a]}":                           "belongs to both",
		"companies: {x: [a]}\npeople: [{login: a, company: z}]": "belongs to both",
	} {
		file := filepath.Join(t.TempDir(), "owners.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, errs := ReadRoster("", file); errs == nil || !strings.Contains(errs.Error(), want) {
			t.Errorf("%s: %v, want %q", text, errs, want)
		}
	}
}

func TestPatternsChooseRepositories(t *testing.T) {
	o := Owner{Login: "aws", Include: []string{"aws-*", "s2n*"}, Exclude: []string{"*-archive"}}
	for name, want := range map[string]bool{"aws/AWS-CLI": true, "aws/s2n-tls": true, "aws/other": false, "aws/aws-x-archive": false} {
		if got := o.Includes(name); got != want {
			t.Errorf("%s is admitted: %t", name, got)
		}
	}
	if all := (Owner{Login: "aws"}); !all.Includes("aws/anything") {
		t.Error("without patterns a repository is left out")
	}
}

func TestWhatIsAddedAndRemovedByHandOutlivesTheConfiguration(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		list := w.list()
		logins := func() string {
			owners, err := list.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, o := range owners {
				names = append(names, o.Login+":"+o.Company)
			}
			return strings.Join(names, " ")
		}
		do := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		seed := func(configured Roster) { t.Helper(); do(list.seed(t.Context(), configured)) }

		seed(Roster{"acme": {Login: "acme", Company: "meta"}, "jane": {Login: "jane"}})
		do(list.Add(t.Context(), Owner{Login: "NVIDIA", Company: "nvidia"}))
		do(list.Remove(t.Context(), "Jane"))
		seed(Roster{"acme": {Login: "acme", Company: "apple"}, "jane": {Login: "jane"}, "new": {Login: "new"}})
		if got := logins(); got != "acme:apple new: nvidia:nvidia" {
			t.Errorf("listed: %s", got)
		}
		seed(Roster{}) // nothing is configured any more
		if got := logins(); got != "nvidia:nvidia" {
			t.Errorf("listed: %s", got)
		}
		do(list.Add(t.Context(), Owner{Login: "jane"}))
		seed(Roster{"nvidia": {Login: "nvidia", Company: "other"}})
		if got := logins(); got != "jane: nvidia:nvidia" {
			t.Errorf("listed: %s", got)
		}
		if err := list.Remove(t.Context(), "nobody"); err == nil {
			t.Error("an owner that is not listed was removed")
		}
		do(list.Add(t.Context(), Owner{Login: "rust-lang", Repos: []string{"rust"}}))
		do(list.Add(t.Context(), Owner{Login: "rust-lang", Repos: []string{"Cargo"}}))
		if o, err := list.Get(t.Context(), "rust-lang"); err != nil || !reflect.DeepEqual(o.Repos, []string{"cargo", "rust"}) {
			t.Errorf("%+v, %v", o, err)
		}
	})
}

func TestAnOwnerThatIsAddedAgainKeepsWhatWasSet(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		list := w.list()
		for _, step := range []struct{ add, want Owner }{
			{Owner{Login: "aws", Company: "amazon", Include: []string{"aws-*"}}, Owner{Login: "aws", Company: "amazon", Include: []string{"aws-*"}}},
			{Owner{Login: "AWS"}, Owner{Login: "aws", Company: "amazon", Include: []string{"aws-*"}}},
			{Owner{Login: "aws", Exclude: []string{"x"}}, Owner{Login: "aws", Company: "amazon", Exclude: []string{"x"}}},
			{Owner{Login: "aws", Company: "other"}, Owner{Login: "aws", Company: "other", Exclude: []string{"x"}}},
			{Owner{Login: "rust-lang", Company: "none", Repos: []string{"rust"}}, Owner{Login: "rust-lang", Company: "none", Repos: []string{"rust"}}},
			{Owner{Login: "rust-lang", Repos: []string{"cargo"}}, Owner{Login: "rust-lang", Company: "none", Repos: []string{"cargo", "rust"}}},
			{Owner{Login: "rust-lang"}, Owner{Login: "rust-lang", Company: "none"}},
		} {
			if err := list.Add(t.Context(), step.add); err != nil {
				t.Fatal(err)
			}
			if got, err := list.Get(t.Context(), step.want.Login); err != nil || !reflect.DeepEqual(got, step.want) {
				t.Errorf("%+v added: %+v, %v; want %+v", step.add, got, err, step.want)
			}
		}
	})
}

func TestOfManyWhoChangeTheListNoneIsLost(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		done := make(chan error)
		for i := range 4 {
			go func() {
				done <- w.list().Add(context.Background(), Owner{Login: fmt.Sprintf("owner-%d", i)})
			}()
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		list := w.list()
		if owners, err := list.List(t.Context()); err != nil || len(owners) != 4 {
			t.Errorf("%d owners, %v", len(owners), err)
		}
	})
}

func TestOwnersComeFromTheListAndTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "owners.yaml")
	if err := os.WriteFile(file, []byte("companies:\n  meta: [facebook, FacebookResearch]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, errs := ReadRoster("torvalds nvidia=NVIDIA,meta=facebook", file)
	if errs != nil {
		t.Fatal(errs)
	}
	if got := fmt.Sprint(slices.Sorted(maps.Keys(r))); got != "[facebook facebookresearch nvidia torvalds]" {
		t.Errorf("owners %s", got)
	}
	if c := r["facebookresearch"].Company; c != "meta" {
		t.Errorf("company %q", c)
	}
	if c := r["torvalds"].Company; c != "" {
		t.Errorf("torvalds belongs to %q", c)
	}
	if err := os.WriteFile(file, []byte("company:\n  meta: [facebook]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errs := ReadRoster("", file); errs == nil || !strings.Contains(errs.Error(), "company") {
		t.Errorf("a misspelt key: %v", errs)
	}
}
