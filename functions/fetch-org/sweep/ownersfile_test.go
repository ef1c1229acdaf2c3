package sweep

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

func ownersFileWith(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "owners.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestNothingOfAFileOfOwnersIsPassedOverSilently(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"an anchor under an unknown key": {"x: &d {login: alpha}\ncompanies:\n  meta:\n    - *d\n", `line 1: unknown key "x"`},
		"a key twice":                    {"companies:\n  meta: [alpha]\n  meta: [beta]\n", `line 3: key "meta" occurs twice`},
		"a company without a name":       {"companies:\n  \"\":\n    - alpha\n", "line 2: a company without a name"},
		"a company that is null":         {"companies:\n  no: [no]\n  null: [gamma]\n", "line 3: a key is not a text"},
		"a comment without a space":      {"companies:\n  meta:\n    - alpha # ok\n    - beta#no\n", `line 4: invalid login "beta#no"`},
		"a list for a mapping":           {"companies:\n  - meta: [alpha]\n", "line 2: want a mapping"},
		"a text for a mapping":           {"hello", "line 1: want a mapping"},
		"a company of an owner is null":  {"companies:\n  meta:\n    - {login: alpha, company: null}\n", "line 3: company is not a text"},
		"a login that is null":           {"companies:\n  meta:\n    - {login: }\n", "line 3: login is not a text"},
		"an owner without a login":       {"people: [{include: [x]}]", `line 1: invalid login ""`},
		"a list in a list":               {"companies:\n  meta: [alpha, [beta]]\n", "line 2: want a login"},
		"an entry that is null":          {"companies:\n  apple:\n    - alpha\n    -\n", "line 4: empty entry"},
		"a person that is null":          {"people:\n  - null\n  - ~\n", "line 3: empty entry"},
		"a pattern that is null":         {"companies:\n  meta:\n    - {login: beta, include: [null]}\n", "line 3: an entry of include is not a text"},
		"a repository that is null":      {"companies:\n  meta:\n    - {login: alpha, repos: [null, \"x\"]}\n", "line 3: an entry of repos is not a text"},
		"patterns that are no list":      {"people: [{login: beta, include: x}]", "line 1: include is not a list"},
		"a text for a list":              {"companies:\n  meta: alpha\n", "line 2: want a list"},
		"tabs":                           {"companies:\n\tmeta:\n\t- alpha\n", "line 2"},
		"a second document":              {"companies:\n  meta:\n    - alpha\n---\ncompanies:\n  nvidia:\n    - beta\n", "line 4: a second document"},
		"a key in another case":          {"companies:\n  meta:\n    - {Login: alpha}\n", `line 3: unknown key "Login" of an owner`},
		"a merge":                        {"people:\n  - {<<: {login: a}}\n", "line 2: a key is not a text"},
		"a person of a company too":      {"companies:\n  meta: [alpha]\npeople:\n  - alpha\n", "line 4: owner alpha belongs to both"},
	} {
		file := ownersFileWith(t, c.text)
		if _, errs := ReadRoster("", file); errs == nil || !strings.Contains(errs.Error(), file+": "+c.want) && !strings.Contains(errs.Error(), "yaml: "+c.want) {
			t.Errorf("%s: %v, want %q", name, errs, c.want)
		}
	}
	long := "people:\n" + strings.Repeat("  - a b\n", 100_000)
	if errs := (Roster{}).addFile(ownersFileWith(t, long)); len(errs) == 0 || len(errs) > 30 {
		t.Errorf("%d faults are listed of a file of 100,000", len(errs))
	}
	if errs := (Roster{}).addFile(ownersFileWith(t, strings.Repeat("# x\n", 2<<20))); len(errs) != 1 {
		t.Errorf("a file of 8 MB: %v", errs)
	}
}

func TestAFileOfOwnersMayBeWrittenInManyWays(t *testing.T) {
	utf := "\xff\xfe"
	for _, u := range utf16.Encode([]rune("companies:\n  meta:\n    - alpha\n")) {
		utf += string([]byte{byte(u), byte(u >> 8)})
	}
	for text, want := range map[string]string{
		"":                                     "",
		"# only a comment":                     "",
		"companies:\npeople:\nrepositories:\n": "",
		"companies: {tesla: }":                 "",
		"\ufeffcompanies:\r\n  meta:\r\n    - alpha\r\n": "meta=alpha",
		utf: "meta=alpha",
		"companies:\n  no: [no]\n  0x10: [007]\n  yes: ['null']":                                                                        "0x10=007 no=no yes=null",
		"companies:\n  meta: [https://github.com/Alpha]":                                                                                "meta=alpha",
		"companies:\n  meta: &m\n    - &a alpha\n  nvidia:\n    - {login: beta, include: &i ['x*']}\n    - {login: gamma, include: *i}": "meta=alpha nvidia=beta nvidia=gamma",
	} {
		r, errs := ReadRoster("", ownersFileWith(t, text))
		var got []string
		for _, o := range r {
			got = append(got, o.Company+"="+o.Login)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want || errs != nil {
			t.Errorf("%q: %v, %v; want %s", text, got, errs, want)
		}
	}
}

func TestAnAddressOnGitHubIsAnOwner(t *testing.T) {
	for text, want := range map[string]string{
		"https://github.com/PyTorch": "pytorch", "https://github.com/pytorch/": "pytorch", "github.com/pytorch": "pytorch",
		"http://www.github.com/rust-lang/rust": "rust-lang/rust", "https://github.com/rust-lang/rust.git": "rust-lang/rust",
		"git@github.com:rust-lang/rust.git": "rust-lang/rust", "meta=https://github.com/facebook": "facebook",
		"https://github.com/rust-lang/rust/tree/main?tab=readme#x": "rust-lang/rust", "https://github.com/orgs/pytorch/repositories": "pytorch",
	} {
		o, err := ParseOwner(text)
		got := o.Login
		if len(o.Repos) == 1 {
			got += "/" + o.Repos[0]
		}
		if err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"https://gitlab.com/pytorch", "https://github.com", "https://github.com//", "ftp://github.com/a"} {
		if o, err := ParseOwner(text); err == nil {
			t.Errorf("%s is %+v", text, o)
		}
	}
}

// FuzzOwnersFile: whatever a file holds, it is read or refused, and each owner of
// it can be stored.
func FuzzOwnersFile(f *testing.F) {
	for _, text := range []string{
		"companies:\n  meta: [facebook, {login: aws, include: ['aws-*']}]\npeople: [torvalds]\nrepositories: [rust-lang/rust]\n",
		"x: &d {login: alpha}\ncompanies:\n  meta:\n    - *d\n", "people:\n  - null\n  - ~\n", "a: &a [*a]", "people: &a\n  - {login: *a}\n", "<<: {people: [a]}",
		"companies:\n\tmeta:\n", "---\n---\n", "? [a]\n: b", "\xff\xfep\x00", "people: !!binary aGk=",
	} {
		f.Add([]byte(text))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		file := filepath.Join(dir, "owners.yaml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		r, _ := ReadRoster("", file)
		for login, o := range r {
			if _, err := o.normal(); err != nil || o.Login != login {
				t.Errorf("%q lists %+v: %v", text, o, err)
			}
		}
	})
}
