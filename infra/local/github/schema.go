package github

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

// GitHub's schema as it is published. It is fetched with npm, once for a cache,
// for it is larger than all of M7 Pulse. (15.26.0 and 15.26.1 define a field
// twice, which readers of schemas refuse.)
const (
	schemaPackage = "@octokit/graphql-schema"
	schemaVersion = "15.25.0"
	schemaMember  = "package/schema.graphql"
	schemaSHA256  = "4dea7bd74e69637bd55795157eef5bfd89af3a32a6f05e8ac69004f223896415"
	schemaMax     = 16 << 20 // bytes
	schemaTimeout = 2 * time.Minute
)

// schema is read once in a process: it takes a good part of a second, and
// nothing ever changes it.
var schema = sync.OnceValues(func() (*ast.Schema, error) {
	ctx, cancel := context.WithTimeout(context.Background(), schemaTimeout)
	defer cancel()
	text, err := schemaText(ctx)
	if err != nil {
		return nil, fmt.Errorf("GitHub's schema: %w", err)
	}
	s, err := gqlparser.LoadSchema(&ast.Source{Name: "github", Input: string(text)})
	if err != nil {
		return nil, fmt.Errorf("GitHub's schema: %w", err)
	}
	return s, nil
})

// schemaText reads the schema from the cache ($PULSE_CACHE, else m7pulse in the
// user's cache directory), and fetches it first where the cache lacks it.
func schemaText(ctx context.Context) ([]byte, error) {
	cache := os.Getenv("PULSE_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("find the cache directory (set PULSE_CACHE): %w", err)
		}
		cache = filepath.Join(dir, "m7pulse")
	}
	dir := filepath.Join(cache, "github-schema", schemaVersion)
	path := filepath.Join(dir, filepath.Base(schemaMember))
	if text, err := os.ReadFile(path); err == nil && checkSchema(text) == nil {
		return text, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	// Processes that need it at the same time each fetch it; the renames agree.
	scratch, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	text, err := fetchSchema(ctx, scratch)
	if err != nil {
		return nil, err
	}
	fresh := filepath.Join(scratch, filepath.Base(path))
	if err := os.WriteFile(fresh, text, 0o644); err != nil {
		return nil, err
	}
	return text, os.Rename(fresh, path)
}

func checkSchema(text []byte) error {
	digest := sha256.Sum256(text)
	if got := hex.EncodeToString(digest[:]); got != schemaSHA256 {
		return fmt.Errorf("sha256 of %s is %s, pinned is %s", schemaMember, got, schemaSHA256)
	}
	return nil
}

// fetchSchema has npm download the package and takes the schema out of it.
func fetchSchema(ctx context.Context, dir string) ([]byte, error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return nil, errors.New("it is fetched with npm, which is not on PATH: install Node.js")
	}
	spec := schemaPackage + "@" + schemaVersion
	cmd := exec.CommandContext(ctx, npm, "pack", "--ignore-scripts", "--loglevel=error", "--pack-destination", dir, spec)
	cmd.WaitDelay = 5 * time.Second
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("npm pack %s: %w: %s", spec, err, strings.TrimSpace(stderr.String()))
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("npm pack %s: expected one archive, found %d", spec, len(found))
	}
	archive, err := os.ReadFile(found[0])
	if err != nil {
		return nil, err
	}
	plain, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", spec, err)
	}
	for files := tar.NewReader(plain); ; {
		header, err := files.Next()
		if err == io.EOF {
			return nil, fmt.Errorf("%s holds no %s", spec, schemaMember)
		}
		if err != nil {
			return nil, fmt.Errorf("unpack %s: %w", spec, err)
		}
		if header.Name == schemaMember {
			text, err := io.ReadAll(io.LimitReader(files, schemaMax))
			if err != nil {
				return nil, fmt.Errorf("unpack %s: %w", spec, err)
			}
			return text, checkSchema(text)
		}
	}
}
