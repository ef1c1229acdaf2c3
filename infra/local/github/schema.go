package github

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/m7pulse/m7pulse/shared/download"
)

// GitHub's schema as it is published. It is fetched with npm, once for a cache,
// for it is larger than all of M7 Pulse. (15.26.0 and 15.26.1 define a field
// twice, which readers of schemas refuse.)
func schemaFile() download.File {
	return download.File{
		Folder:  "github-schema",
		Package: "@octokit/graphql-schema",
		Version: "15.25.0",
		Member:  "package/schema.graphql",
		SHA256:  "4dea7bd74e69637bd55795157eef5bfd89af3a32a6f05e8ac69004f223896415",
		Size:    1_177_658,
	}
}

// schemaTimeout bounds the download.
const schemaTimeout = 2 * time.Minute

// schema is read once in a process: it takes a good part of a second, and
// nothing ever changes it.
var schema = sync.OnceValues(func() (*ast.Schema, error) {
	ctx, cancel := context.WithTimeout(context.Background(), schemaTimeout)
	defer cancel()
	path, err := schemaFile().Fetch(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("GitHub's schema: %w", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("GitHub's schema: %w", err)
	}
	s, err := gqlparser.LoadSchema(&ast.Source{Name: "github", Input: string(text)})
	if err != nil {
		return nil, fmt.Errorf("GitHub's schema: %w", err)
	}
	return s, nil
})
