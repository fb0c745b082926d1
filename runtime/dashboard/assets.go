package dashboard

import (
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"net/http"
	"regexp"
	"strings"
)

//go:embed assets pages
var files embed.FS

// pages are the templates of all pages.
var pages = template.Must(template.ParseFS(files, "pages/*.html"))

// A file is an embedded file.
type file struct {
	body    []byte
	packed  []byte // gzip
	kind    string // its content type
	version string
}

// assets are the files of /assets/, by name.
var assets = loadAssets()

func loadAssets() map[string]file {
	entries, err := files.ReadDir("assets")
	if err != nil {
		panic(err) // it is embedded
	}
	all := map[string]file{}
	for _, e := range entries {
		body, err := files.ReadFile("assets/" + e.Name())
		if err != nil {
			panic(err)
		}
		body = lean(body)
		sum := sha256.Sum256(body)
		f := file{body: body, packed: pack(body, gzip.BestCompression), version: hex.EncodeToString(sum[:6])}
		switch {
		case strings.HasSuffix(e.Name(), ".css"):
			f.kind = "text/css; charset=utf-8"
		case strings.HasSuffix(e.Name(), ".js"):
			f.kind = "text/javascript; charset=utf-8"
		default:
			f.kind = "image/svg+xml"
		}
		all[e.Name()] = f
	}
	return all
}

var cssComment = regexp.MustCompile(`(?s)/\*.*?\*/`)

// lean returns a script or a style sheet without comments and indentation, which browsers need not load. The script has
// no text of several lines.
func lean(body []byte) []byte {
	var b strings.Builder
	for line := range strings.Lines(cssComment.ReplaceAllString(string(body), "")) {
		if line = strings.TrimLeft(line, " "); len(line) > 1 && !strings.HasPrefix(line, "//") {
			b.WriteString(line)
		}
	}
	return []byte(b.String())
}

// asset serves an embedded file. Its address has its version, so that browsers may keep it for ever.
func (s *server) asset(w http.ResponseWriter, r *http.Request) {
	f, ok := assets[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	if r.URL.Query().Get("v") == f.version {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	sendBody(w, r, http.StatusOK, `"`+f.version+`"`, f.body, f.packed)
}
