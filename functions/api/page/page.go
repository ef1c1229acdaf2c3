// Package page holds the page that people see, as static files: they are served as
// they are, and ask for nothing but the API.
package page

import (
	"embed"
	"fmt"
	"io/fs"
	"net/http"
)

//go:embed static
var files embed.FS

// Handler serves the files; index.html is the page itself.
func Handler() (http.Handler, error) {
	root, err := fs.Sub(files, "static")
	if err != nil {
		return nil, fmt.Errorf("find the files of the page: %w", err)
	}
	return http.FileServerFS(root), nil
}
