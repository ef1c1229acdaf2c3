package page

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/shared/download"
)

var update = flag.Bool("update", false, "fetch what is vendored from npm, and check it by its digest")

// vendored are the files that are others' work, as npm has them.
func vendored() map[string]download.File {
	uplot := func(member, sum string, size int64) download.File {
		return download.File{Folder: "uplot", Package: "uplot", Version: "1.6.32", Member: "package/" + member, SHA256: sum, Size: size}
	}
	inter := func(member, sum string, size int64) download.File {
		return download.File{Folder: "inter", Package: "@fontsource-variable/inter", Version: "5.3.0", Member: "package/" + member, SHA256: sum, Size: size}
	}
	return map[string]download.File{
		"uplot/uPlot.iife.min.js":             uplot("dist/uPlot.iife.min.js", "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f", 51081),
		"uplot/uPlot.min.css":                 uplot("dist/uPlot.min.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04", 1857),
		"uplot/LICENSE":                       uplot("LICENSE", "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd", 1078),
		"inter/inter-latin-wght-normal.woff2": inter("files/inter-latin-wght-normal.woff2", "3100e775e8616cd2611beecfa23a4263d7037586789b43f035236a2e6fbd4c62", 48256),
		"inter/LICENSE":                       inter("LICENSE", "3b0a5fca3d17942cde889069889dedbbbd075e9b599968c82a95f4d944e9b345", 4477),
	}
}

// With -update, which make page-vendor gives, the files are fetched first.
func TestVendoredFilesAreThosePublished(t *testing.T) {
	const folder = "static/vendor/"
	if *update {
		for name, f := range vendored() {
			from, err := f.Fetch(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(folder+name, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	seen := 0
	err := fs.WalkDir(os.DirFS("."), "static/vendor", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		seen++
		data, err := os.ReadFile(name)
		sum := sha256.Sum256(data)
		want, ok := vendored()[strings.TrimPrefix(name, folder)]
		if got := hex.EncodeToString(sum[:]); !ok || got != want.SHA256 || int64(len(data)) != want.Size {
			t.Errorf("%s: %d bytes, sha256 %s; want %d, %s", name, len(data), got, want.Size, want.SHA256)
		}
		return err
	})
	if err != nil || seen != len(vendored()) {
		t.Errorf("%d files are vendored, want %d; %v", seen, len(vendored()), err)
	}
}

func TestPageIsSmall(t *testing.T) {
	const budget = 150 << 10 // bytes, as they are sent
	total := 0
	for _, name := range names(t) {
		if path.Base(name) == "LICENSE" {
			continue // nothing links to them
		}
		f, err := load(name)
		if err != nil {
			t.Fatal(err)
		}
		size := len(f.plain)
		if f.gzipped != nil {
			size = len(f.gzipped)
		}
		total += size
	}
	t.Logf("%.1f KiB in all", float64(total)/1024)
	if total > budget {
		t.Errorf("the page is %d bytes, want %d at most", total, budget)
	}
}

func TestFilesAreSentAsTheBrowserNeedsThem(t *testing.T) {
	h, err := Handler(false)
	if err != nil {
		t.Fatal(err)
	}
	get := func(target string, header ...string) *http.Response {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, target, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}
	for target, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/?view=repository&name=a/b": "text/html; charset=utf-8", "/app.js": "text/javascript; charset=utf-8", "/views/now.js": "text/javascript; charset=utf-8",
		"/style.css": "text/css; charset=utf-8", "/icon.svg": "image/svg+xml", "/vendor/inter/inter-latin-wght-normal.woff2": "font/woff2",
	} {
		r := get(target)
		if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != kind || r.Header.Get("Content-Security-Policy") != policy || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %s %v", target, r.Status, r.Header)
		}
	}
	plain := get("/app.js")
	packed := get("/app.js", "Accept-Encoding", "br, gzip")
	if plain.Header.Get("Content-Encoding") != "" || packed.Header.Get("Content-Encoding") != "gzip" || plain.Header.Get("Etag") == packed.Header.Get("Etag") {
		t.Errorf("plain: %v; packed: %v", plain.Header, packed.Header)
	}
	z, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if want, err := io.ReadAll(plain.Body); err != nil || !bytes.Equal(unpacked, want) {
		t.Errorf("what is packed is another file; %v", err)
	}
	if r := get("/app.js", "Accept-Encoding", "gzip", "If-None-Match", packed.Header.Get("Etag")); r.StatusCode != http.StatusNotModified {
		t.Errorf("a file that the browser has: %s", r.Status)
	}
	withKeys, err := Handler(true)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		h      http.Handler
		target string
		ahead  bool
	}{{h, "/", true}, {h, "/?view=now", true}, {h, "/?view=health", false}, {h, "/?window=30d", false}, {h, "/app.js", false}, {withKeys, "/", false}} {
		w := httptest.NewRecorder()
		if c.h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, c.target, nil)); (w.Header().Get("Link") != "") != c.ahead {
			t.Errorf("%s: asked ahead: %q, want it: %v", c.target, w.Header().Get("Link"), c.ahead)
		}
	}
	for _, target := range []string{"/nothing", "/static/app.js", "/views/", "/index.html", "/../page.go"} {
		if r := get(target); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", target, r.Status)
		}
	}
}

// The policy forbids these; the test names the file that has them.
func TestNoFileMakesMarkupOfText(t *testing.T) {
	dangerous := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\('style'|javascript:|\bstyle=|<style|\bon[a-z]+="`)
	elsewhere := regexp.MustCompile(`(src|href)="(https?:)?//|url\(['"]?(https?:)?//|import [^;]*from '(https?:)?//|fetch\('http`)
	for _, name := range names(t) {
		if strings.Contains(name, "/vendor/") {
			continue
		}
		data, err := files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, forbidden := range []*regexp.Regexp{dangerous, elsewhere} {
			if found := forbidden.Find(data); found != nil {
				t.Errorf("%s has %q", name, found)
			}
		}
	}
	page, err := files.ReadFile("static/index.html")
	if err != nil {
		t.Fatal(err)
	}
	if inline := regexp.MustCompile(`<script(>| type="module">)`).Find(page); inline != nil {
		t.Errorf("index.html has a script in it: %q", inline)
	}
	for _, name := range names(t) {
		if strings.HasSuffix(name, ".js") && !strings.Contains(string(page), strings.TrimPrefix(name, "static/")) {
			t.Errorf("index.html does not load %s ahead: it comes a round trip later", name)
		}
	}
}

// What distinguishes two colours is their distance in OKLab, in which 2 is just
// noticeable, for a person with each kind of colour blindness (Machado, Oliveira and
// Fernandes, 2009) and for one with none.
func TestCompanyColoursAreToldApart(t *testing.T) {
	const distance, contrast = 7, 3
	data, err := files.ReadFile("static/style.css")
	if err != nil {
		t.Fatal(err)
	}
	css := string(data)
	for theme, block := range map[string]string{"light": between(t, css, ":root {", "}"), "dark": between(t, css, ":root[data-theme='dark'] {", "}"), "dark by the system": between(t, css, ":root:not([data-theme='light']) {", "}")} {
		surface := colour(t, block, "surface")
		companies := []string{"apple", "microsoft", "alphabet", "amazon", "meta", "nvidia", "tesla"}
		for i, a := range companies {
			first := colour(t, block, "c-"+a)
			if c := first.contrast(surface); c < contrast {
				t.Errorf("%s: %s has contrast %.1f, want %d", theme, a, c, contrast)
			}
			for _, b := range companies[i+1:] {
				for sight, matrix := range sights() {
					if d := distanceOf(first.seen(matrix), colour(t, block, "c-"+b).seen(matrix)); d < distance {
						t.Errorf("%s: %s and %s are %.1f apart to %s, want %d", theme, a, b, d, sight, distance)
					}
				}
			}
		}
		for _, text := range []string{"ink", "muted", "accent", "down"} {
			if c := colour(t, block, text).contrast(surface); c < 4.5 {
				t.Errorf("%s: text in %s has contrast %.1f, want 4.5", theme, text, c)
			}
		}
	}
}

func names(t *testing.T) (out []string) {
	t.Helper()
	err := fs.WalkDir(files, "static", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			out = append(out, name)
		}
		return err
	})
	if err != nil || len(out) == 0 {
		t.Fatalf("%d files; %v", len(out), err)
	}
	slices.Sort(out)
	return out
}

func between(t *testing.T, text, from, to string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, from)
	block, _, closed := strings.Cut(rest, to)
	if !ok || !closed {
		t.Fatalf("no %q", from)
	}
	return block
}

// linear is a colour as amounts of light: red, green and blue, 0 to 1.
type linear [3]float64

func colour(t *testing.T, block, name string) (c linear) {
	t.Helper()
	found := regexp.MustCompile(fmt.Sprintf(`--%s: #([0-9a-f]{3}|[0-9a-f]{6});`, regexp.QuoteMeta(name))).FindStringSubmatch(block)
	if found == nil {
		t.Fatalf("no colour %s", name)
	}
	digits := found[1]
	if len(digits) == 3 {
		digits = string([]byte{digits[0], digits[0], digits[1], digits[1], digits[2], digits[2]})
	}
	for i := range c {
		v, err := strconv.ParseUint(digits[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		if c[i] = float64(v) / 255; c[i] <= 0.04045 {
			c[i] /= 12.92
		} else {
			c[i] = math.Pow((c[i]+0.055)/1.055, 2.4)
		}
	}
	return c
}

// contrast is that of WCAG 2.
func (c linear) contrast(other linear) float64 {
	luminance := func(c linear) float64 { return 0.2126*c[0] + 0.7152*c[1] + 0.0722*c[2] + 0.05 }
	a, b := luminance(c), luminance(other)
	return max(a, b) / min(a, b)
}

func sights() map[string][3]linear {
	return map[string][3]linear{
		"most people": {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
		"protanopes":  {{0.152286, 1.052583, -0.204868}, {0.114503, 0.786281, 0.099216}, {-0.003882, -0.048116, 1.051998}},
		"deutanopes":  {{0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}},
		"tritanopes":  {{1.255528, -0.076749, -0.178779}, {-0.078411, 0.930809, 0.147602}, {0.004733, 0.691367, 0.303900}},
	}
}

func (c linear) seen(by [3]linear) (out linear) {
	for i, row := range by {
		out[i] = min(1, max(0, row[0]*c[0]+row[1]*c[1]+row[2]*c[2]))
	}
	return out
}

// distanceOf is 100 times the distance in OKLab.
func distanceOf(a, b linear) float64 {
	lab := func(c linear) linear {
		l := math.Cbrt(0.4122214708*c[0] + 0.5363325363*c[1] + 0.0514459929*c[2])
		m := math.Cbrt(0.2119034982*c[0] + 0.6806995451*c[1] + 0.1073969566*c[2])
		s := math.Cbrt(0.0883024619*c[0] + 0.2817188376*c[1] + 0.6299787005*c[2])
		return linear{
			0.2104542553*l + 0.7936177850*m - 0.0040720468*s,
			1.9779984951*l - 2.4285922050*m + 0.4505937099*s,
			0.0259040371*l + 0.7827717662*m - 0.8086757660*s,
		}
	}
	p, q := lab(a), lab(b)
	return 100 * math.Sqrt((p[0]-q[0])*(p[0]-q[0])+(p[1]-q[1])*(p[1]-q[1])+(p[2]-q[2])*(p[2]-q[2]))
}
