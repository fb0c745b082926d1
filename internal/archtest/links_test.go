package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	code    = regexp.MustCompile("`[^`\n]*`")
	link    = regexp.MustCompile(`(?:\]\(|\b(?:src|srcset|href)=")([^)"\s]+)[)"]`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
)

// Links between documents lead to existing files and headings, and links to code to existing files.
func TestDocumentsHaveNoDeadLinks(t *testing.T) {
	found := 0
	for _, page := range documents(t) {
		text := code.ReplaceAllString(fence.ReplaceAllString(read(t, page), ""), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			found++
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), filepath.FromSlash(file))
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: %v", page, err)
			} else if anchor != "" && !slices.Contains(anchors(read(t, target)), anchor) {
				t.Errorf("%s: %s has no heading #%s", page, target, anchor)
			}
		}
	}
	if found < 100 {
		t.Errorf("found only %d links", found)
	}
}

// docs/index.md has a line for each page of docs.
func TestIndexListsEveryPage(t *testing.T) {
	index := read(t, "docs/index.md")
	for _, page := range documents(t) {
		name := filepath.Base(page)
		if filepath.Dir(page) == "docs" && name != "index.md" && !strings.Contains(index, "- ["+name+"]("+name+"): ") {
			t.Errorf("docs/index.md has no line for %s", name)
		}
	}
}

// The light and the dark picture differ in colors only.
func TestPicturesAreTheSame(t *testing.T) {
	colors := regexp.MustCompile("#[0-9a-f]{6}")
	light := colors.ReplaceAllString(read(t, "docs/overview.svg"), "")
	if dark := colors.ReplaceAllString(read(t, "docs/overview-dark.svg"), ""); light != dark {
		t.Error("docs/overview.svg and docs/overview-dark.svg differ")
	}
}

// documents returns the paths of all documents for users, below the root.
func documents(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(pages) < 10 {
		t.Fatal(pages, err)
	}
	out := []string{"README.md", "CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md"}
	for _, page := range pages {
		out = append(out, filepath.Join("docs", filepath.Base(page)))
	}
	return out
}

// anchors returns the names by which GitHub links to the headings of a document.
func anchors(text string) (names []string) {
	seen := map[string]int{}
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 127:
				return r
			default:
				return -1
			}
		}, strings.ToLower(m[1]))
		if n := seen[name]; n > 0 {
			names = append(names, name+"-"+string(rune('0'+n)))
		} else {
			names = append(names, name)
		}
		seen[name]++
	}
	return names
}
