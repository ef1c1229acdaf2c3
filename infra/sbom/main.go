// Command sbom says what our programs are made of: a CycloneDX bill of materials
// for each program that it is given, read from the program itself, and one list
// of all modules with their licences. It fails when a licence is unknown, or is
// one that asks more of who passes the program on than to keep a notice and, for
// MPL-2.0, to say where the unchanged source is.
//
//	sbom FOLDER PROGRAM…
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const generator = "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0"

// own are the modules of this project.
const own = "github.com/m7pulse/m7pulse"

// allowed are the licences of what we link.
var allowed = []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MPL-2.0", "Unlicense", "Zlib", "CC0-1.0", "Python-2.0"}

// read are those that the generator does not recognise, or mistakes; each was
// read by a person, to its end. Of golang.org/x all have the same.
var read = map[string][]string{
	"golang.org/x":              {"BSD-3-Clause"},
	"github.com/tmthrgd/go-hex": {"BSD-3-Clause"},
	"github.com/twmb/murmur3":   {"BSD-3-Clause"},
	// New code is under Apache-2.0. Older contributions whose authors have not agreed to
	// that stay under the MIT licence, so both texts go with the program. Its documents
	// are under CC-BY-4.0, and not linked.
	"github.com/modelcontextprotocol/go-sdk": {"Apache-2.0", "MIT"},
}

// bill is a bill of materials, as far as it is read here.
type bill struct {
	Components []struct {
		Name, Version string
		Evidence      struct {
			Licenses []struct{ License struct{ ID, Name string } }
		}
	}
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "sbom FOLDER PROGRAM…")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(folder string, programs []string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	lines := map[string]bool{}
	var faults []error
	for _, program := range programs {
		path := filepath.Join(folder, filepath.Base(program)+".cdx.json")
		out, err := exec.Command("go", "run", generator, "bin", "-json", "-licenses", "-noserial", "-notimestamp", "-version", "v0.1.0", "-output", path, program).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", program, err, out)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var b bill
		if err := json.Unmarshal(text, &b); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if len(b.Components) == 0 {
			faults = append(faults, fmt.Errorf("%s is made of nothing", program))
		}
		for _, c := range b.Components {
			if strings.HasPrefix(c.Name, own) {
				continue
			}
			var ids []string
			for _, l := range c.Evidence.Licenses {
				ids = append(ids, l.License.ID+l.License.Name)
			}
			for name, known := range read {
				if c.Name == name || strings.HasPrefix(c.Name, name+"/") {
					ids = slices.Clone(known)
				}
			}
			slices.Sort(ids)
			line := fmt.Sprintf("%s %s %s", c.Name, c.Version, strings.Join(slices.Compact(ids), " "))
			if lines[line] {
				continue
			}
			lines[line] = true
			if len(ids) == 0 || slices.ContainsFunc(ids, func(id string) bool { return !slices.Contains(allowed, id) }) {
				faults = append(faults, fmt.Errorf("%s: a licence that nobody has looked at", line))
			}
		}
	}
	list := filepath.Join(folder, "licences.txt")
	var all []string
	for line := range lines {
		all = append(all, line)
	}
	slices.Sort(all)
	if err := os.WriteFile(list, []byte(strings.Join(all, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	fmt.Printf("%d modules in %d programs: %s\n", len(all), len(programs), list)
	return errors.Join(faults...)
}
