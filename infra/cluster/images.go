package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

const (
	// repository begins the names of images: Knative does not look for the digests
	// of those under dev.local, as there is no registry.
	repository = "dev.local"
	tag        = "dev"
)

// ko builds images into a tar archive. args are its flags and packages.
func (c *cluster) ko(ctx context.Context, dir, archive string, args ...string) error {
	base, stop, err := serveBase()
	if err != nil {
		return fmt.Errorf("serve the base of the images: %w", err)
	}
	defer stop()
	cmd := exec.CommandContext(ctx, "go", append([]string{"run", "github.com/google/ko@v0.18.0", "build", "--push=false", "--tarball", archive,
		"--tags", tag, "--platform", "linux/" + runtime.GOARCH, "--sbom", "none"}, args...)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "KO_DOCKER_REPO="+repository, "KO_DEFAULTBASEIMAGE="+base)
	if dir != c.root {
		cmd.Env = append(cmd.Env, "GOWORK=off", "GOFLAGS=")
	}
	return shown(cmd)
}

// serveBase serves a base image without layers, as ko takes its base from a registry
// and nowhere else.
func serveBase() (image string, stop func(), err error) {
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "created": time.Unix(0, 0).UTC(),
		"config": map[string]any{"User": "65532:65532"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{}},
	})
	if err != nil {
		return "", nil, err
	}
	digest := func(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }
	const manifestType = "application/vnd.docker.distribution.manifest.v2+json"
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "layers": []any{},
		"config": map[string]any{"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config), "digest": digest(config)},
	})
	if err != nil {
		return "", nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/{$}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /v2/base/manifests/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", manifestType)
		w.Header().Set("Docker-Content-Digest", digest(manifest))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(manifest))
	})
	mux.HandleFunc("GET /v2/base/blobs/"+digest(config), func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(config))
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }()
	return l.Addr().String() + "/base:1", func() { _ = server.Close() }, nil
}

// functions are the names of all, as cmd/functions has them.
func (c *cluster) functions() (names []string, err error) {
	entries, err := os.ReadDir(filepath.Join(c.root, "cmd", "functions"))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// importImages builds the functions' images and gives containerd these and Knative's.
// The functions' have the names that infra/deploy/dev expects ko to have left on the
// node.
func (n *node) importImages(ctx context.Context) error {
	names, err := n.functions()
	if err != nil {
		return err
	}
	args := []string{"--base-import-paths"}
	for _, name := range names {
		args = append(args, "./cmd/functions/"+name)
	}
	archive := filepath.Join(n.run, "functions.tar")
	if err := n.ko(ctx, n.root, archive, args...); err != nil {
		return err
	}
	for _, path := range []string{filepath.Join(n.knative, "images.tar"), archive} {
		if _, err := output(n.ctr(ctx, "images", "import", path)); err != nil {
			return err
		}
	}
	for _, name := range names {
		if _, err := output(n.ctr(ctx, "images", "tag", repository+"/"+name+":"+tag, "kind.local/"+name+":"+tag)); err != nil {
			return err
		}
	}
	return os.Remove(archive)
}

// imaged replaces what ko's own manifests call an image by the name that it got here.
func imaged(manifest string) string {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(manifest, "ko://")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		path, rest := after, ""
		if end := strings.IndexAny(after, " \t\n\"'"); end >= 0 {
			path, rest = after[:end], after[end:]
		}
		out.WriteString(repository + "/" + path + ":" + tag)
		manifest = rest
	}
}
