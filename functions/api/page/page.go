// Package page holds the page that people see, as static files: they are served as
// they are, and ask for nothing but the API of the same server.
package page

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2/negotiation"
)

//go:embed static
var files embed.FS

// policy lets the page load and ask its own server alone. No script and no style may
// stand in the markup, and no script may make markup of a text: what GitHub says of a
// repository stays text.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// file is one file as it is sent.
type file struct {
	kind    string // its media type
	etag    string
	plain   []byte
	gzipped []byte // nil if that is no smaller, as of fonts
}

// firstAnswer is what the view that opens without a choice asks the API for. The page test
// finds a difference: the browser warns of an answer that it fetched and nobody took.
const firstAnswer = "</api/v1/overview?window=7d&days=90&limit=8>; rel=preload; as=fetch; crossorigin=anonymous"

// Handler serves the files; index.html is the page itself, for the address / alone. If
// the API asks for no keys, the browser asks it ahead for what the page opens with.
func Handler(keys bool) (http.Handler, error) {
	served := map[string]file{}
	err := fs.WalkDir(files, "static", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		f, err := load(name)
		served["/"+strings.TrimPrefix(name, "static/")] = f
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the files of the page: %w", err)
	}
	served["/"] = served["/index.html"]
	delete(served, "/index.html")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := served[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.URL.Path == "/" && !keys && (r.URL.RawQuery == "" || r.URL.RawQuery == "view=now") {
			w.Header().Set("Link", firstAnswer)
		}
		f.send(w, r)
	}), nil
}

func load(name string) (file, error) {
	plain, err := files.ReadFile(name)
	if err != nil {
		return file{}, err
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return file{}, err
	}
	if _, err := z.Write(plain); err != nil {
		return file{}, err
	}
	if err := z.Close(); err != nil {
		return file{}, err
	}
	sum := sha256.Sum256(plain)
	f := file{kind: kindOf(name), etag: base64.RawURLEncoding.EncodeToString(sum[:12]), plain: plain}
	if packed.Len() < len(plain)*9/10 {
		f.gzipped = packed.Bytes()
	}
	return f, nil
}

// kindOf is the media type of a file, whatever the machine's own list says.
func kindOf(name string) string {
	switch ext := path.Ext(name); ext {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".html":
		return "text/html; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".woff2":
		return "font/woff2"
	default:
		if kind := mime.TypeByExtension(ext); kind != "" {
			return kind
		}
		return "text/plain; charset=utf-8"
	}
}

// send answers with the file. The browser keeps it and asks each time whether it is
// still the same, so that a new version is seen at once.
func (f file) send(w http.ResponseWriter, r *http.Request) {
	body, etag := f.plain, `"`+f.etag+`"`
	h := w.Header()
	if f.gzipped != nil {
		h.Set("Vary", "Accept-Encoding")
		if negotiation.SelectQValueFast(r.Header.Get("Accept-Encoding"), []string{"gzip"}) == "gzip" {
			body, etag = f.gzipped, `"`+f.etag+`-gzip"`
			h.Set("Content-Encoding", "gzip")
		}
	}
	h.Set("Content-Type", f.kind)
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", etag)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}
