// Command typecheck type-checks packages for other platforms. It reads all that they
// import from source: nothing is compiled, which building or vetting them would.
//
//	go run ./infra/typecheck darwin/arm64,linux/arm64 ./cmd/... ./shared/...
package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: typecheck GOOS/GOARCH,… PACKAGE...")
	}
	for platform := range strings.SplitSeq(os.Args[1], ",") {
		n, err := check(platform, os.Args[2:])
		if err != nil {
			log.Fatalf("type-check for %s: %v", platform, err)
		}
		fmt.Printf("type-checked for %s: %d packages\n", platform, n)
	}
}

// check returns how many packages there are, their tests among them.
func check(platform string, patterns []string) (n int, err error) {
	system, processor, ok := strings.Cut(platform, "/")
	if !ok {
		return 0, errors.New("want GOOS/GOARCH")
	}
	all, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports | packages.NeedDeps |
			packages.NeedTypes | packages.NeedSyntax | packages.NeedTypesSizes,
		Env:   append(os.Environ(), "GOOS="+system, "GOARCH="+processor, "CGO_ENABLED=0"),
		Tests: true,
	}, patterns...)
	if err != nil {
		return 0, err
	}
	var faults []error
	for _, p := range all {
		for _, fault := range p.Errors {
			faults = append(faults, fault)
		}
	}
	return len(all), errors.Join(faults...)
}
